// The pruning explorer; rarefire.page.explorer says what it shows and what travels in the page.

const ORDERS = { low: "low→high PoZ", high: "high→low PoZ", random: "random" };
const METRICS = { correlation: "Pearson", cosine: "cosine" };
const REFERENCES = { network: "all features", people: "people" };
const VIEWS = { matrices: "matrices", maps: "maps" };
const WHICH = { low: "most active", high: "rarest", random: "randomly chosen" };

// --- scenes ---

// All that can be chosen; each is opened when it is first shown. `loaded` is called when pictures are there.
class Scenes {
  constructor(model, loaded) {
    this.model = model;
    this.given = model.get("scenes");
    this.stimuli = [...new Set(this.given.map(s => s.stimuli))];
    this.opened = new Map();
    this.sprites = sheets(model.get("sprites"), loaded);
  }

  get shown() {
    const i = this.model.get("scene"), firing = Boolean(this.model.get("firing")), key = `${i} ${firing}`;
    if (!this.opened.has(key)) this.opened.set(key, new Scene(this.given[i], this.model.get("least"), this.sprites, firing));
    return this.opened.get(key);
  }

  // Indices of the scenes with these images.
  alike(name) {
    return this.given.flatMap((s, i) => (s.stimuli === name ? [i] : []));
  }

  close() {
    for (const { sheet } of this.sprites) URL.revokeObjectURL(sheet.src);
  }
}

// --- a canvas on which images are pointed at ---

// With a mouse, a finger or keys. A cell is a pair of images; subclasses know which one lies `under` an event
// (or null), and where a key leads: go(key, far). `look` is called with a cell (or null) that is pointed at, or
// one that is to stay.
class Panel {
  constructor(kind, look, ...more) {
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-roledescription": kind, ...OWN_KEYS });
    this.pen = this.canvas.getContext("2d");
    this.title = element("b");
    this.frame = element("span", { class: "rf-mark", hidden: true });
    this.box = element("div", { class: `rf-heat rf-${kind}` }, this.title, element("div", {}, this.canvas, this.frame), ...more);
    this.at = [0, 0]; // where keys go on from
    this.kept = null;
    this.listen(look);
  }

  listen(look) {
    const { canvas } = this;
    canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(this.under(event), false); });
    canvas.addEventListener("pointerleave", () => look(null, false));
    // A second click on the same cell lets it go.
    canvas.addEventListener("click", event => {
      const cell = this.under(event);
      look(String(cell) === String(this.kept) ? null : cell, true);
    });
    canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) look(this.at, true); });
    canvas.addEventListener("keydown", event => {
      const to = this.go(event.key, event.ctrlKey ? 10 : 1);
      if (event.key === "Escape") look(null, true);
      if (!to) return;
      event.preventDefault();
      look(to, true);
    });
  }

  // What is pointed at, and what stays of it.
  mark(cell, kept) {
    this.kept = kept;
    if (cell) this.at = cell;
  }
}

// What the features kept are compared with.
const whole = (s, against) => (against === "network" && s.p < s.shape[1] ? "all that fire" : REFERENCES[against]);

// --- matrices ---

class HeatMap extends Panel {
  constructor(look, colours) {
    super("matrix", look);
    Object.assign(this, { colours, n: 0 });
  }

  within(v) {
    return Math.min(this.n - 1, Math.max(0, v));
  }

  under(event) {
    const area = this.canvas.getBoundingClientRect();
    const index = (offset, size) => this.within(Math.floor((offset / size) * this.n));
    return [index(event.clientY - area.top, area.height), index(event.clientX - area.left, area.width)];
  }

  go(key, far) {
    const [i, j] = this.at;
    return {
      ArrowUp: [i - far, j], ArrowDown: [i + far, j], ArrowLeft: [i, j - far], ArrowRight: [i, j + far],
      PageUp: [i - 10, j], PageDown: [i + 10, j], Home: [i, 0], End: [i, this.n - 1],
    }[key]?.map(v => this.within(v));
  }

  // Dissimilarities (n, n) between `low` and `high`; NaN is left empty.
  paint(dissimilarity, limits, name, description) {
    const { canvas, pen, colours } = this;
    if (this.n ** 2 !== dissimilarity.length) {
      this.n = canvas.width = canvas.height = Math.sqrt(dissimilarity.length);
      this.at = [0, 0];
    }
    this.title.textContent = name;
    canvas.setAttribute("aria-label", description);
    paintMatrix(pen, dissimilarity, limits, colours);
  }

  mark(cell, kept) {
    super.mark(cell, kept);
    this.frame.hidden = !cell;
    const part = v => `${(100 * v) / this.n}%`;
    if (cell) this.frame.style = `top:${part(cell[0])};left:${part(cell[1])};width:${part(1)};height:${part(1)}`;
  }
}

// The RDM of the reference, and that of the features kept.
class Matrices {
  hint = "Point at a cell (click or tap to keep it), or go there with the arrow keys: which two images does it compare?";

  constructor(look, colours) {
    this.edge = element("div", { class: "rf-edge", "aria-hidden": "true" });
    this.panels = [new HeatMap(look, colours), new HeatMap(look, colours)];
    this.box = element("div", { class: "rf-heats" }, this.edge, ...this.panels.map(panel => panel.box));
  }

  open(s) {
    this.edge.replaceChildren(...s.categories().map(([start, size]) =>
      element("span", { style: `top:${(100 * (start + size / 2)) / s.n}%` }, s.names.length ? s.name(start) : "")));
  }

  paintReference({ s, metric, against }) {
    const values = s.compared(against, metric), limits = against === "people" ? range(values, s.n) : [0, s.limit(metric)];
    this.panels[0].paint(values, limits, whole(s, against), `Dissimilarities of ${s.n} images, ${whole(s, against)}.`);
  }

  paintKept(now) {
    const { s, k, metric, partial } = now;
    this.panels[1].paint(partial, [0, s.limit(metric)], `${k} of ${s.p}`, `Dissimilarities of ${s.n} images in the ${describe(now)}.`);
  }

  // Images to be shown large.
  images(now, cell) {
    return cell;
  }

  mark(cell, kept) {
    for (const panel of this.panels) panel.mark(cell, kept);
  }

  words({ s, metric, against, partial }, [i, j]) {
    if (i === j) return `An image of ${s.name(i)} with itself.`;
    const place = i * s.n + j, full = s.full(metric)[place], kept = partial[place];
    const parts = [`${shortly(full, 2)} with all features`, `${kept === kept ? shortly(kept, 2) : "undefined"} with those kept`];
    if (against === "people") parts.unshift(s.people()[place] === s.people()[place] ? `${shortly(s.judged(place), 2)} for people` : "not judged by people");
    return `${s.name(i)} and ${s.name(j)} (row ${i + 1}, column ${j + 1}): dissimilarity ${parts.join(", ")}.`;
  }
}

// --- maps ---

// Of categories: six colours that the colour-blind can tell apart, in two shapes. On light and on dark.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"], RIM = "#777";
const CATEGORIES = 2 * PALETTE.length;
const dress = category => ({ colour: PALETTE[category % 6], square: category % CATEGORIES >= 6 });
const bullet = category => `background:${dress(category).colour};border-radius:${dress(category).square ? 0 : "50%"}`;

class ImageMap extends Panel {
  constructor(look) {
    const note = element("small");
    super("map", look, note);
    this.near = element("span", { class: "rf-mark rf-near", hidden: true });
    this.frame.before(this.near);
    // `size` and `tile` in pixels, of the canvas and of an image; `spots`: where the images are on the canvas.
    Object.assign(this, { note, s: null, places: [], middle: [0, 0], half: 1, size: 0, tile: 0, spots: [], marked: [] });
    new ResizeObserver(([{ contentRect }]) => {
      this.size = contentRect.width;
      this.draw();
    }).observe(this.canvas);
  }

  under(event) {
    const area = this.canvas.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    let nearest = -1, least = 20;
    this.spots.forEach(([u, v], i) => {
      const far = Math.hypot(x - u, y - v);
      if (far <= least) [nearest, least] = [i, far];
    });
    return nearest < 0 ? null : [nearest, nearest];
  }

  go(key, far) {
    const by = { ArrowUp: -far, ArrowLeft: -far, ArrowDown: far, ArrowRight: far, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[key];
    return by && Array(2).fill(Math.min(this.s.n - 1, Math.max(0, this.at[0] + by)));
  }

  // `around`: the places that it shall show, in the same scale.
  paint(scene, places, around, name, said) {
    if (this.s !== scene) [this.at, this.marked] = [[0, 0], []];
    Object.assign(this, { s: scene, places });
    const ends = [0, 1].map(c => {
      const values = around.map(at => at[c]).filter(v => v === v);
      return [Math.min(...values), Math.max(...values)];
    });
    this.middle = ends.map(([low, high]) => (low + high) / 2 || 0);
    this.half = Math.max(0, ...ends.map(([low, high]) => (high - low) / 2)) || 1;
    this.title.textContent = name;
    this.note.textContent = said;
    this.canvas.setAttribute("aria-label", `Map of ${scene.n} images, ${name}; what is alike lies close together. ${said}`);
    this.draw();
  }

  draw() {
    const { canvas, pen, size, s } = this;
    if (!size || !s) return;
    const width = Math.round(size * devicePixelRatio);
    if (canvas.width !== width) canvas.width = canvas.height = width;
    pen.setTransform(width / size, 0, 0, width / size, 0, 0);
    pen.clearRect(0, 0, size, size);
    this.tile = Math.min(26, Math.max(13, size / 13));
    this.spots = this.spread();
    this.spots.forEach(([x, y], i) => {
      if (x !== x) return;
      if (s.sprite?.sheet.complete) this.thumbnail(i, x, y);
      else this.dot(i, x, y);
    });
    this.showMarks();
  }

  // The places in pixels.
  spread() {
    const { size, tile, middle, half } = this, off = this.places.map(place => place.map((v, c) => v - middle[c]));
    const by = (size / 2 - tile / 2 - 3) / Math.max(half, ...off.flat().map(v => (v === v ? Math.abs(v) : 0)));
    return off.map(([x, y]) => [size / 2 + by * x, size / 2 - by * y]);
  }

  // In a frame of its category's colour.
  thumbnail(i, x, y) {
    const { pen, s } = this, [w, h] = this.sides(this.tile), { colour, square } = dress(s.labels[i]);
    const behind = (style, dx, dy) => {
      pen.fillStyle = style;
      pen.fillRect(x - w / 2 - dx, y - h / 2 - dy, w + 2 * dx, h + 2 * dy);
    };
    if (s.names.length > 1) {
      behind(RIM, 2.5, 2.5);
      behind(colour, square ? 0 : 2, 2);
    }
    s.stamp(pen, i, x - w / 2, y - h / 2, w, h);
  }

  dot(i, x, y) {
    const { pen } = this, { colour, square } = dress(this.s.labels[i]);
    pen.beginPath();
    if (square) pen.rect(x - 4.5, y - 4.5, 9, 9);
    else pen.arc(x, y, 5, 0, 7);
    Object.assign(pen, { fillStyle: colour, strokeStyle: RIM, lineWidth: 1 }).fill();
    pen.stroke();
  }

  // Of an image: width and height.
  sides(longest) {
    const [w, h] = this.s.sprite?.tile ?? [1, 1], by = longest / Math.max(w, h);
    return [w * by, h * by];
  }

  mark(cell, kept, neighbour) {
    super.mark(cell, kept);
    this.marked = cell ? [cell[0], neighbour] : [];
    this.showMarks();
  }

  showMarks() {
    if (!this.size || !this.s) return;
    this.lift(this.frame, this.marked[0], 1.6);
    this.lift(this.near, this.marked[1], 1.2);
  }

  // An image that is pointed at lies above the others.
  lift(mark, i, times) {
    const { s, size } = this, [x, y] = this.spots[i] ?? [NaN];
    mark.hidden = x !== x;
    if (mark.hidden) return;
    const [w, h] = this.sides(times * (s.sprite ? this.tile : 10)), { sheet, columns } = s.sprite ?? {};
    const look = sheet ? `background:url(${sheet.src}) ${-(i % columns) * w}px ${-Math.floor(i / columns) * h}px/${columns * w}px auto` : bullet(s.labels[i]);
    mark.style = `left:${(100 * x) / size}%;top:${(100 * y) / size}%;width:${w}px;height:${h}px;${look}`;
  }
}

// The map of the reference, and that of the features kept, which is laid onto it.
class Maps {
  hint = "Point at an image (click or tap to keep it), or go through them with the arrow keys: which image is most like it?";

  constructor(look, name) {
    this.panels = [new ImageMap(look), new ImageMap(look)];
    this.legend = element("div", { class: "rf-kinds" });
    this.box = element("div", { class: "rf-maps" }, ...this.panels.map(panel => panel.box), this.legend);
    this.numbers = download(`${name}-maps`, () => this.table());
    Object.assign(this, { s: null, places: [], basis: null }); // `basis` of the latest map: the next one is much like it
  }

  open(s) {
    Object.assign(this, { s, basis: null });
    const kinds = s.categories().map(([start]) => s.labels[start]);
    this.legend.hidden = kinds.length < 2 || kinds.length > CATEGORIES;
    this.legend.replaceChildren(...kinds.map(c => {
      const { colour, square } = dress(c);
      const style = s.sprite ? `border:solid ${colour};border-width:3px ${square ? 0 : 3}px` : bullet(c);
      return element("span", {}, element("i", { style }), s.names[c]);
    }));
  }

  paintReference({ s, metric, against }) {
    const map = s.map(against, metric), places = signed(map.places);
    const filled = against === "people" && s.gaps ? " Pairs that nobody judged take their two images’ mean." : "";
    this.places = [places];
    this.panels[0].paint(s, places, places, whole(s, against), this.trust(map, s.lengths(against, metric)) + filled);
  }

  paintKept({ s, k, partial }) {
    const map = scaling(partial, s.n, this.basis), [target] = this.places, places = onto(map.places, target);
    this.basis = map.basis;
    this.places = [target, places];
    this.panels[1].paint(s, places, target, `${k} of ${s.p}`, this.trust(map, partial));
  }

  // How far a map can be trusted.
  trust({ places, m }, d) {
    const { n } = this.s, r2 = fidelity(places, d, n);
    if (m < 3) return "Fewer than three images have a similarity: there is no map.";
    return (r2 === r2 ? `Distances here share ${percent(r2)} of their variance with the dissimilarities (r²).` : "The dissimilarities do not vary.")
      + (m < n ? ` ${n - m} of ${n} images have no similarity: not shown.` : "");
  }

  // Images to be shown large: the one pointed at, and the one most like it on either map.
  images({ s, metric, against, partial }, [i]) {
    return [i, nearest(s.lengths(against, metric), s.n, i), nearest(partial, s.n, i)];
  }

  mark(cell, kept, images) {
    this.panels.forEach((panel, side) => panel.mark(cell, kept, images[side + 1]));
  }

  words({ s, metric, against, partial }, cell, [i, left, right]) {
    const most = (j, value) => (j == null ? "none, it has no similarity" : `${s.title(j)}, ${shortly(value(i * s.n + j), 2)}`);
    const first = most(left, place => (against === "people" ? s.judged(place) : s.full(metric)[place]));
    return `${s.title(i)}. Least dissimilar to it: left ${first}; right ${most(right, place => partial[place])}.`;
  }

  table() {
    const { s, places: [left, right] } = this;
    return [...s.labels].map((label, i) => ({
      image: i + 1, category: s.names[label] ?? "", left_x: left[i][0], left_y: left[i][1], right_x: right[i][0], right_y: right[i][1],
    }));
  }
}

// --- what can be set, and what is said: each part shows the state of the whole (`now`, below) ---

const counted = s => `${s.p} features${s.p < s.shape[1] ? " that fire" : ""}`;
const describe = ({ s, k, order }) => `${k} ${WHICH[order]} of ${counted(s)} (${percent(k / s.p)})`;
const valueOf = ({ r, defined }) => `R² ${defined ? shortly(r * r) : "undefined"}`;

// Menus and choices.
function controls(model, scenes) {
  const images = menu("Images", chosen => {
    const place = scenes.alike(scenes.shown.stimuli).indexOf(model.get("scene")), there = scenes.alike(scenes.stimuli[chosen]);
    set(model, { scene: there[Math.min(place, there.length - 1)], category: 0 });
  });
  const networks = menu("Network", chosen => set(model, { scene: scenes.alike(scenes.shown.stimuli)[chosen] }));
  const order = choice("Order of insertion", ORDERS, value => set(model, { order: value }), { swatches: true });
  const metric = choice("Similarity", METRICS, value => set(model, { metric: value }));
  const reference = choice("Compare with", REFERENCES, value => set(model, { reference: value }));
  const view = choice("Show", VIEWS, value => set(model, { view: value }));
  const dead = element("input", { type: "checkbox", ...OWN_KEYS, change: () => set(model, { firing: dead.checked }) }), without = element("span");
  const alive = { box: element("label", { class: "rf-tick" }, dead, without) };
  const boxes = [images, networks, order, metric, reference, view, alive].map(part => part.box);
  return {
    box: element("div", { class: "rf-controls" }, ...boxes),
    open(s) {
      const there = scenes.alike(s.stimuli);
      images.show(scenes.stimuli, scenes.stimuli.indexOf(s.stimuli));
      networks.show(there.map(i => scenes.given[i].network), there.indexOf(model.get("scene")));
      reference.box.hidden = !s.human;
      dead.checked = model.get("firing");
      dead.disabled = !s.dead || s.dead === s.shape[1];
      without.textContent = s.dead ? `without the ${s.dead} dead feature${s.dead === 1 ? "" : "s"}` : "no feature is dead";
    },
    settle(now) {
      order.show(now.order); metric.show(now.metric); reference.show(now.against); view.show(now.view);
    },
  };
}

// R² does not see that all pairs become more alike, or less; the eye does.
function levels({ s, metric, partial }) {
  const [left, right] = [s.full(metric), partial].map(d => middle(d, s.n)), by = right.toFixed(2) - left.toFixed(2);
  return `Mean dissimilarity: ${shortly(left, 2)} on the left, ${shortly(right, 2)} on the right.` + (by ? ` R² compares the pattern, not how ${by > 0 ? "bright" : "dark"} it is.` : "");
}

// The slider, and R² at its place. `keep` is called with a number of features.
function answer(keep) {
  const share = slider("Features kept", { min: 1, input: () => keep(share.input.valueAsNumber) });
  const r2 = element("output", { class: "rf-r2", ...QUIET }), said = element("span"), level = element("p", { class: "rf-level" });
  return {
    boxes: [share.box, element("p", { class: "rf-result" }, r2, said), level],
    open(s) { share.input.max = s.p; },
    write(now) {
      const { s, k, r, images, defined, metric, against } = now;
      share.input.value = k;
      share.value.textContent = `${k} of ${s.p} (${percent(k / s.p)})`;
      share.input.setAttribute("aria-valuetext", `${describe(now)}, ${valueOf(now)}`);
      r2.textContent = `R² = ${defined ? shortly(r * r) : "–"}`;
      r2.dataset.r = r;
      const to = against === "people" ? "people’s judgments" : `all ${s.p}`;
      const only = images < s.n ? `: ${images} of ${s.n} images have a similarity there` : "";
      const why = only || (k === 1 && metric === "correlation" ? ": a correlation needs at least two" : ": the similarities do not vary");
      level.textContent = against === "people" ? "" : levels(now);
      said.textContent = defined ? ` of the ${describe(now)} with ${to}${only}` : ` undefined for the ${describe(now)}${why}`;
    },
  };
}

// What is pointed at: its images, and words.
function detail() {
  const pictures = [0, 1, 2].map(() => element("canvas", { width: 96, height: 96, "aria-hidden": "true" }));
  const words = element("span", { role: "status", id: unique("words") });
  return {
    box: element("div", { class: "rf-detail" }, ...pictures, words),
    aloud(live) { words.setAttribute("aria-live", live ? "polite" : "off"); },
    show(s, images, said) {
      pictures.forEach((canvas, side) => {
        canvas.hidden = !s.sprite || images[side] == null;
        if (canvas.hidden) return;
        const pen = canvas.getContext("2d");
        pen.imageSmoothingEnabled = s.sprite.tile[0] >= 48;
        pen.clearRect(0, 0, 96, 96);
        s.stamp(pen, images[side], 0, 0, 96, 96);
      });
      words.textContent = said;
    },
  };
}

// What the colours of matrices mean.
function key(colours) {
  const [least, most, lacks] = [element("span"), element("span"), element("span")];
  const none = element("span", { class: "rf-key-none" }, element("i", { class: "rf-undefined" }), lacks);
  const box = element("div", { class: "rf-bar" }, none, least, element("i", { style: gradient(colours) }), most);
  return {
    box,
    settle({ s, metric, against, view }) {
      for (const part of box.children) part.hidden = view === "maps";
      // People's dissimilarities have a scale of their own.
      least.textContent = against === "people" ? "alike" : "alike 0";
      most.textContent = against === "people" ? "unlike" : `≥ ${s.limit(metric).toFixed(1)} unlike`;
    },
    write({ s, images, against, view }) {
      lacks.textContent = [images < s.n && "undefined", against === "people" && s.gaps && "not judged"].filter(Boolean).join(" or ");
      none.hidden = view === "maps" || !lacks.textContent;
    },
  };
}

// A list of what else there is to say of the features kept.
function facts(model) {
  const ghostsOf = menu("ghosts kept (ticks), of", chosen => set(model, { category: chosen }));
  const rows = {
    signed: fact("signed r"), ceiling: fact("noise ceiling of this R²"), poz: fact("PoZ at the cut"), dead: fact("dead features kept"), ghosts: fact(ghostsOf.box),
  };
  return {
    box: element("dl", {}, ...Object.values(rows).map(row => row.box)),
    settle({ s, category }) {
      ghostsOf.show(s.groups, category);
      ghostsOf.box.hidden = false;
    },
    write({ s, k, r, order, against, defined, ceiling, ghosts }) {
      const dead = s.where(order, feature => s.poz[feature] === 1);
      const among = places => (places.length ? `${places.filter(place => place < k).length} of ${places.length}` : "there are none");
      rows.signed.show(against === "people" && shortly(defined ? r : NaN));
      rows.ceiling.show(ceiling && ceiling.map(c => shortly(c * c, 2)).join("–"));
      rows.poz.show(order !== "random" && percent(s.poz[s.order[order][k - 1]], 1));
      rows.dead.show(s.p === s.shape[1] && among(dead));
      rows.ghosts.show(s.ghosts.some(Boolean) && among(ghosts));
    },
  };
}

// A row of it; hidden where there is nothing to show.
function fact(title) {
  const value = element("dd"), box = element("div", {}, element("dt", {}, title), value);
  return { box, show(text) { box.hidden = !text; value.textContent = text || ""; } };
}

// --- the whole ---

// `now` is what the traits say, within what the scene has: the scene `s`, `k` features kept, `order`, `metric`,
// `category`, what they are compared with (`against`) and `view`; and what follows: dissimilarities in the
// features kept (`partial`), `r`, the `curve` in use, the places of `ghosts` in the order, the `ceiling`, the
// number of `images` with a similarity, and whether r is `defined`.
class Explorer {
  constructor(model) {
    this.model = model;
    this.scenes = new Scenes(model, () => {
      for (const panel of this.views.maps.panels) panel.draw();
      this.show();
      this.portray();
    });
    const look = (cell, stays) => this.look(cell, stays), keep = k => this.keep(k);
    const colours = numbers(model.get("colours"), Uint8Array), name = model.get("name"); // 256 × RGB
    this.views = { matrices: new Matrices(look, colours), maps: new Maps(look, name) };
    this.controls = controls(model, this.scenes);
    this.answer = answer(keep);
    this.detail = detail();
    this.key = key(colours);
    this.plot = new CurvePlot(share => keep(share * this.scenes.shown.p));
    this.facts = facts(model);
    this.feature = new FeaturePanel({ name, choose: feature => set(model, { feature }), follows: "the one at the cut" });
    this.coordinates = element("span", {}, "; the maps: ", this.views.maps.numbers);
    this.box = this.layout(download(`${name}-curve`, () => this.table()));
    Object.assign(this, { now: {}, cell: null, pinned: null });
  }

  layout(numbers) {
    return element("div", { class: "rf-explorer", role: "group", "aria-label": "Pruning explorer" },
      this.controls.box, ...this.answer.boxes, this.views.matrices.box, this.views.maps.box,
      element("div", { class: "rf-under" }, this.detail.box, this.key.box),
      element("div", { class: "rf-side" }, this.plot.box, this.facts.box),
      this.feature.box,
      element("p", { class: "rf-foot" }, "Everything here is computed in this page, as you move. The curve in use: ", numbers, this.coordinates));
  }

  keep(k) {
    const { p } = this.scenes.shown;
    set(this.model, { fraction: Math.min(p, Math.max(1, Math.round(k))) / p });
  }

  draw() {
    const { model } = this, s = this.scenes.shown, before = this.now;
    const now = this.now = {
      ...before, s, k: featuresKept(model.get("fraction"), s.p), order: model.get("order"), metric: model.get("metric"),
      category: Math.min(model.get("category"), s.groups.length - 1), against: s.human ? model.get("reference") : "network", view: model.get("view"),
    };
    const settled = ["s", "order", "metric", "category", "against", "view"].every(name => now[name] === before[name]);
    if (settled && now.k === before.k) return this.portray(); // another feature, nothing else
    if (s !== before.s) this.open(before.s);
    similarities(s.prefixes(now.order, now.metric), now.k, now.partial);
    now.r = agreement(now.partial, s.reference(now.against, now.metric), s.n);
    for (let c = 0; c < now.partial.length; c++) now.partial[c] = 1 - now.partial[c];
    if (!settled) this.settle();
    this.detail.aloud(false); // the slider says enough
    this.views[now.view].paintKept(now);
    this.write();
    this.show();
    this.portray();
  }

  // The feature that was chosen, or else the one kept last.
  portray() {
    const { s, k, order, metric } = this.now, chosen = s.features.indexOf(this.model.get("feature"));
    this.feature.show(s, chosen < 0 ? s.order[order][k - 1] : chosen, metric, chosen < 0);
  }

  // What belongs to a scene.
  open(before) {
    const { s } = this.now;
    before?.known.clear();
    this.now.partial = new Float64Array(s.n ** 2);
    this.cell = this.pinned = null;
    for (const part of [this.controls, this.answer, this.views.matrices, this.views.maps]) part.open(s);
  }

  // What stays while the slider moves.
  settle() {
    const { now, views } = this;
    for (const part of [this.controls, this.key, this.facts]) part.settle(now);
    for (const [name, view] of Object.entries(views)) view.box.hidden = name !== now.view;
    this.coordinates.hidden = views.maps.box.hidden;
    views[now.view].paintReference(now);
    this.outline();
  }

  outline() {
    const { now } = this, { s, order, metric, against, category } = now;
    const others = Object.keys(ORDERS).filter(name => name !== order);
    now.curve = s.curve(order, metric, against);
    now.ghosts = s.where(order, feature => s.ghosts[category * s.p + feature]);
    now.ceiling = against === "people" && s.ceiling.length ? s.ceiling : null;
    const lines = [...others.filter(name => s.hasCurve(name, metric, against)), order].map(name => [name, s.r2(name, metric, against)]);
    this.plot.draw(lines, {
      ...now, p: s.p, highest: against === "people" ? axisEnd(lines, now.ceiling) : 1, ylabel: against === "people" ? "R² with people" : "R² with all features",
    });
    // The other orders' curves follow once this one is on the screen.
    const next = others.find(name => !s.hasCurve(name, metric, against));
    if (next) setTimeout(() => {
      if (this.now.s !== s || this.now.metric !== metric || this.now.against !== against) return;
      s.curve(next, metric, against);
      this.outline();
      this.write();
    });
  }

  write() {
    const { now } = this;
    now.images = now.curve.images[now.k - 1];
    now.defined = now.r === now.r && now.s.enough(now.images);
    for (const part of [this.answer, this.key, this.facts]) part.write(now);
    this.plot.move(now.k, `R² against the share of features kept. ${valueOf(now)} for the ${describe(now)}.`);
  }

  // The cell that is pointed at, or else the one that stays: a click, a tap or a key kept it.
  look(at, stays) {
    if (stays) this.pinned = at;
    this.cell = at ?? this.pinned;
    this.detail.aloud(stays);
    this.show();
  }

  show() {
    const { now, cell, pinned } = this, view = this.views[now.view], images = cell ? view.images(now, cell) : [];
    view.mark(cell, pinned, images);
    this.detail.show(now.s, images, cell ? view.words(now, cell, images) : view.hint);
  }

  table() {
    const { s, curve, order } = this.now, inserted = s.order[order];
    return [...curve.r].map((r, i) => ({ k: i + 1, feature: s.features[inserted[i]], poz: s.poz[inserted[i]], r, r2: r * r, n_images: curve.images[i] }));
  }
}

function render({ model, el }) {
  const explorer = new Explorer(model);
  const unmount = mount({ model, el }, explorer.box, ["scene", "fraction", "order", "metric", "reference", "category", "view", "firing", "feature"], () => explorer.draw());
  return () => {
    unmount();
    explorer.scenes.close();
  };
}

export default { render };
