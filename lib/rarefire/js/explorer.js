// The pruning explorer; rarefire.explorer says what it shows and what travels in the page.

const ORDERS = { low: "low→high PoZ", high: "high→low PoZ", random: "random" };
const METRICS = { correlation: "Pearson", cosine: "cosine" };
const REFERENCES = { network: "all features", people: "people" };
const WHICH = { low: "most active", high: "rarest", random: "randomly chosen" };

// --- one image set seen by one network ---

class Scene {
  constructor(given, sprites) {
    Object.assign(this, given);
    [this.n, this.p] = given.shape;
    this.poz = numbers(given.poz, Float32Array);
    this.labels = numbers(given.labels, Uint16Array);
    this.ghosts = numbers(given.ghosts, Uint8Array); // (categories, p)
    if (given.kind === "u1") {
      const steps = numbers(given.steps, Float32Array), codes = numbers(given.embedding, Uint8Array);
      this.embedding = Float64Array.from(codes, (code, i) => code * steps[i % this.p]);
    } else this.embedding = given.kind === "f2" ? float16(given.embedding)
      : numbers(given.embedding, given.kind === "f4" ? Float32Array : Float64Array);
    this.order = Object.fromEntries(Object.entries(given.orders).map(([name, order]) => [name, numbers(order, Uint16Array)]));
    this.known = new Map();
    this.sprite = sprites[given.sprite] ?? null;
  }

  // Computed once.
  once(key, compute) {
    if (!this.known.has(key)) this.known.set(key, compute());
    return this.known.get(key);
  }

  geometry(order, metric) {
    return this.once(`geometry ${order} ${metric}`, () =>
      residuals(this.embedding, this.n, this.p, this.order[order], metric));
  }

  // Dissimilarities (n, n): of all features, or people's.
  full(metric) {
    return this.once(`full ${metric}`, () =>
      similarities(this.geometry("low", metric), this.p, new Float64Array(this.n ** 2)).map(s => 1 - s));
  }

  // Standardised; `scale` holds the mean and the standard deviation that they had.
  people() {
    return this.once("people", () => {
      const condensed = numbers(this.human, Float32Array), square = new Float64Array(this.n ** 2);
      for (let i = 0, c = 0; i < this.n; i++) {
        square[i * this.n + i] = -Infinity; // nothing is more like an image than itself
        for (let j = i + 1; j < this.n; j++) square[i * this.n + j] = square[j * this.n + i] = condensed[c++];
      }
      return square;
    });
  }

  reference(name, metric) {
    return this.once(`reference ${name} ${metric}`, () => (name === "people" ? this.people() : this.full(metric)).map(d => -d));
  }

  curve(order, metric, name) {
    return this.once(`curve ${order} ${metric} ${name}`, () =>
      nestedCurve(this.geometry(order, metric), this.reference(name, metric)));
  }

  hasCurve(order, metric, name) {
    return this.known.has(`curve ${order} ${metric} ${name}`);
  }

  // Runs of images of one category: [first, how many].
  categories() {
    const starts = [...this.labels.keys()].filter(i => !i || this.labels[i] !== this.labels[i - 1]);
    return starts.map((start, c) => [start, (starts[c + 1] ?? this.n) - start]);
  }

  name(image) {
    return this.names[this.labels[image]] ?? `image ${image + 1}`;
  }
}

// --- an RDM ---

// `look` is called with a cell (or null) that is pointed at, or one that is to stay.
function heatMap(colours, look) {
  const canvas = element("canvas", { tabindex: 0, role: "application", "aria-roledescription": "matrix", ...OWN_KEYS });
  const title = element("b"), mark = element("span", { class: "rf-mark", hidden: true });
  const box = element("div", { class: "rf-heat" }, title, element("div", {}, canvas, mark));
  const pen = canvas.getContext("2d");
  let n = 0, pixels = null, at = [0, 0], kept = null;

  const under = event => {
    const area = canvas.getBoundingClientRect();
    const index = (offset, size) => Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)));
    return [index(event.clientY - area.top, area.height), index(event.clientX - area.left, area.width)];
  };
  canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(under(event), false); });
  canvas.addEventListener("pointerleave", () => look(null, false));
  // A second click on the same cell lets it go.
  canvas.addEventListener("click", event => {
    const cell = under(event);
    look(String(cell) === String(kept) ? null : cell, true);
  });
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) look(at, true); });
  canvas.addEventListener("keydown", event => {
    const far = event.ctrlKey ? 10 : 1, [i, j] = at;
    const to = {
      ArrowUp: [i - far, j], ArrowDown: [i + far, j], ArrowLeft: [i, j - far], ArrowRight: [i, j + far],
      PageUp: [i - 10, j], PageDown: [i + 10, j], Home: [i, 0], End: [i, n - 1],
    }[event.key];
    if (event.key === "Escape") look(null, true);
    if (!to) return;
    event.preventDefault();
    look(to.map(v => Math.min(n - 1, Math.max(0, v))), true);
  });

  return {
    box,
    // Dissimilarities (n, n) between `low` and `high`; NaN is left empty.
    paint(dissimilarity, low, high, name, description) {
      if (n ** 2 !== dissimilarity.length) {
        n = canvas.width = canvas.height = Math.sqrt(dissimilarity.length);
        at = [0, 0];
        pixels = pen.createImageData(n, n);
      }
      title.textContent = name;
      canvas.setAttribute("aria-label", description);
      const to = 255 / (high - low), out = pixels.data;
      for (let c = 0; c < dissimilarity.length; c++) {
        const v = dissimilarity[c];
        if (v !== v) { out[4 * c + 3] = 0; continue; }
        const colour = 3 * Math.min(255, Math.max(0, Math.round((v - low) * to)));
        out[4 * c] = colours[colour]; out[4 * c + 1] = colours[colour + 1]; out[4 * c + 2] = colours[colour + 2];
        out[4 * c + 3] = 255;
      }
      pen.putImageData(pixels, 0, 0);
    },
    mark(cell, stays) {
      kept = stays;
      mark.hidden = !cell;
      if (!cell) return;
      at = cell;
      mark.style = `top:${(100 * cell[0]) / n}%;left:${(100 * cell[1]) / n}%;width:${100 / n}%;height:${100 / n}%`;
    },
  };
}

// --- the curve, with a marker that can be dragged ---

const PLOT = { left: 34, top: 8, width: 258, height: 120, rug: 9 };

function curvePlot(moved) {
  const { left, top, width, height, rug } = PLOT, bottom = top + height;
  const box = element("svg:svg", { viewBox: "0 0 300 172", role: "img", class: "rf-curve" });
  const at = (share, value, highest) => `${(left + share * width).toFixed(1)} ${(bottom - (value / highest) * height).toFixed(1)}`;
  const text = (x, y, content, anchor) => element("svg:text", { x, y, "text-anchor": anchor }, content);
  const still = element("svg:g"), ticks = element("svg:path", { class: "rf-rug" }), inside = element("svg:path", { class: "rf-rug rf-in" });
  const line = element("svg:path", { class: "rf-cut" }), dot = element("svg:circle", { r: 4.5 });
  box.append(still, ticks, inside, line, dot);
  dragged(box, share => moved((share * 300 - left) / width));
  let now = null;

  return {
    box,
    // `lines`: [order, r² (p)] with the one in use last; `ghosts`: places in that order.
    draw(lines, { highest, ceiling, ghosts, p, ylabel }) {
      now = { highest, ghosts, p, order: lines.at(-1)[0], r2: lines.at(-1)[1] };
      still.replaceChildren();
      for (const share of [0, 0.25, 0.5, 0.75, 1])
        still.append(text(left + share * width, bottom + rug + 16, percent(share), share === 1 ? "end" : "middle"));
      const step = highest > 0.6 ? 0.5 : highest > 0.3 ? 0.2 : highest > 0.12 ? 0.1 : 0.05;
      for (let value = 0; value <= highest + 1e-9; value += step) {
        const y = bottom - (value / highest) * height;
        still.append(element("svg:path", { class: "rf-grid", d: `M${left} ${y}h${width}` }), text(left - 5, y + 3.5, String(+value.toFixed(2)), "end"));
      }
      still.append(text(left + width / 2, bottom + rug + 32, "share of features kept", "middle"));
      still.append(element("svg:text", { class: "rf-ylabel", transform: `translate(9 ${top + height / 2}) rotate(-90)`, "text-anchor": "middle" }, ylabel));
      if (ceiling) {
        const [low, high] = ceiling.map(r => bottom - (r ** 2 / highest) * height);
        still.append(element("svg:rect", { class: "rf-ceiling", x: left, width, y: high, height: Math.max(1, low - high) }),
          text(left + width, high - 3, "noise ceiling", "end"));
      }
      for (const [order, r2] of lines) {
        let d = "", pen = "M";
        for (let k = 1; k <= p; k++) {
          const value = r2[k - 1];
          if (value === value) { d += pen + at(k / p, value, highest); pen = "L"; } else pen = "M";
        }
        still.append(element("svg:path", { class: `rf-line rf-${order}${order === now.order ? " rf-now" : ""}`, d }));
      }
    },
    move(k, description) {
      const { highest, ghosts, p, r2, order } = now, x = left + (k / p) * width, value = r2[k - 1];
      const marks = (places, long) => places.map(place => `M${(left + ((place + 1) / p) * width).toFixed(1)} ${bottom + 2}v${long}`).join("");
      ticks.setAttribute("d", marks(ghosts, (rug - 3) / 2));
      inside.setAttribute("d", marks(ghosts.filter(place => place < k), rug - 3));
      line.setAttribute("d", `M${x} ${top}V${bottom + rug}`);
      dot.setAttribute("class", value === value ? `rf-dot rf-${order}` : "rf-none");
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", bottom - ((value === value ? value : 0) / highest) * height);
      box.setAttribute("aria-label", description);
    },
  };
}

// --- the whole ---

function render({ model, el }) {
  const given = model.get("scenes"), opened = new Map();
  const sprites = model.get("sprites").map(({ file, type, tile, columns }) => {
    const sheet = new Image();
    sheet.onload = () => show();
    sheet.src = URL.createObjectURL(new Blob([file], { type }));
    return { sheet, tile, columns };
  });
  const sceneAt = i => { if (!opened.has(i)) opened.set(i, new Scene(given[i], sprites)); return opened.get(i); };
  const scene = () => sceneAt(model.get("scene"));
  const keep = k => set(model, { fraction: Math.min(scene().p, Math.max(1, Math.round(k))) / scene().p });
  const colours = numbers(model.get("colours"), Uint8Array); // 256 × RGB

  const stimuli = [...new Set(given.map(s => s.stimuli))];
  const alike = name => given.flatMap((s, i) => (s.stimuli === name ? [i] : []));
  const images = menu("Images", chosen => {
    const place = alike(scene().stimuli).indexOf(model.get("scene")), there = alike(stimuli[chosen]);
    set(model, { scene: there[Math.min(place, there.length - 1)], category: 0 });
  });
  const networks = menu("Network", chosen => set(model, { scene: alike(scene().stimuli)[chosen] }));
  const order = choice("Order of insertion", ORDERS, value => set(model, { order: value }), { swatches: true });
  const metric = choice("Similarity", METRICS, value => set(model, { metric: value }));
  const reference = choice("Compare with", REFERENCES, value => set(model, { reference: value }));
  const share = slider("Features kept", { min: 1, input: () => keep(share.input.valueAsNumber) });

  const edge = element("div", { class: "rf-edge", "aria-hidden": "true" });
  const [left, right] = [heatMap(colours, look), heatMap(colours, look)];
  const stops = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(i => `rgb(${colours.slice(3 * Math.round((255 * i) / 8), 3 * Math.round((255 * i) / 8) + 3)})`);
  const [least, most] = [element("span"), element("span")];
  const none = element("span", { class: "rf-key-none" }, element("i", { class: "rf-undefined" }), "undefined");
  const bar = element("div", { class: "rf-bar" }, none, least, element("i", { style: `background:linear-gradient(90deg,${stops})` }), most);
  const pictures = [0, 1].map(() => element("canvas", { width: 96, height: 96, "aria-hidden": "true" }));
  const words = element("span", { role: "status", id: unique("words") });
  const detail = element("div", { class: "rf-detail" }, ...pictures, words);

  const r2 = element("output", { class: "rf-r2", ...QUIET }), said = element("span");
  const plot = curvePlot(where => keep(where * scene().p));
  const ghostsOf = menu("ghosts kept (ticks), of", chosen => set(model, { category: chosen }));
  const rows = {
    signed: fact("signed r"), ceiling: fact("noise ceiling, R²"), poz: fact("PoZ at the cut"), dead: fact("dead features kept"), ghosts: fact(ghostsOf.box),
  };
  const facts = element("dl", {}, ...Object.values(rows).map(row => row.box));

  const root = element("div", { class: "rf-explorer", role: "group", "aria-label": "Pruning explorer" },
    element("div", { class: "rf-controls" }, images.box, networks.box, order.box, metric.box, reference.box),
    share.box,
    element("p", { class: "rf-result" }, r2, said),
    element("div", { class: "rf-heats" }, edge, left.box, right.box),
    element("div", { class: "rf-under" }, detail, bar),
    element("div", { class: "rf-side" }, plot.box, facts),
    element("p", { class: "rf-foot" }, "Everything here is computed in this page, as you move. The curve in use: ", download(`${model.get("name")}-curve`, table)));

  let now = {}, cell = null, pinned = null, partial = null;

  function draw() {
    const s = scene(), p = s.p, before = now;
    now = {
      ...before, s, k: Math.min(p, Math.max(1, roundHalfEven(model.get("fraction") * p))),
      order: model.get("order"), metric: model.get("metric"), category: Math.min(model.get("category"), s.groups.length - 1),
      against: s.human ? model.get("reference") : "network",
    };
    if (s !== before.s) open(s, before.s);
    similarities(s.geometry(now.order, now.metric), now.k, partial);
    now.r = agreement(partial, s.reference(now.against, now.metric), s.n);
    for (let c = 0; c < partial.length; c++) partial[c] = 1 - partial[c];
    if (["s", "order", "metric", "category", "against"].some(name => now[name] !== before[name])) settle();
    words.setAttribute("aria-live", "off"); // the slider says enough
    right.paint(partial, 0, now.highest, `${now.k} of ${p}`, `Dissimilarities of ${s.n} images in the ${describe()}.`);
    write();
    show();
  }

  // What belongs to a scene.
  function open(s, before) {
    before?.known.clear();
    partial = new Float64Array(s.n ** 2);
    cell = pinned = null;
    images.show(stimuli, stimuli.indexOf(s.stimuli));
    networks.show(alike(s.stimuli).map(i => given[i].network), alike(s.stimuli).indexOf(model.get("scene")));
    reference.box.hidden = !s.human;
    share.input.max = s.p;
    edge.replaceChildren(...s.categories().map(([start, size]) =>
      element("span", { style: `top:${(100 * (start + size / 2)) / s.n}%` }, s.names.length ? s.name(start) : "")));
  }

  // What stays while the slider moves.
  function settle() {
    const { s, against } = now, values = against === "people" ? s.people() : s.full(now.metric);
    order.show(now.order); metric.show(now.metric); reference.show(against);
    ghostsOf.show(s.groups, now.category);
    ghostsOf.box.hidden = false;
    const [lowest, highest] = range(values, s.n);
    now.highest = 1.1 * range(s.full(now.metric), s.n)[1]; // some similarities fall as features go
    // People's dissimilarities have a scale of their own.
    least.textContent = against === "people" ? "alike" : "alike 0";
    most.textContent = against === "people" ? "unlike" : `≥ ${now.highest.toFixed(1)} unlike`;
    left.paint(values, against === "people" ? lowest : 0, against === "people" ? highest : now.highest, REFERENCES[against], `Dissimilarities of ${s.n} images, ${REFERENCES[against]}.`);
    outline();
  }

  function outline() {
    const { s, order: inUse, metric, against, category } = now;
    const first = s.curve(inUse, metric, against);
    const others = Object.keys(ORDERS).filter(name => name !== inUse);
    const drawn = [...others.filter(name => s.hasCurve(name, metric, against)), inUse];
    const lines = drawn.map(name => [name, s.curve(name, metric, against).r.map((r, i) => (enough(s, s.curve(name, metric, against), i + 1) ? r * r : NaN))]);
    const ceiling = against === "people" && s.ceiling.length ? s.ceiling : null;
    const tops = lines.flatMap(([, r2]) => Math.max(...r2.map(v => (v === v ? v : 0))));
    const highest = against === "people" ? Math.min(1, Math.max(0.05, 1.15 * Math.max(...tops, ...(ceiling ?? []).map(r => r * r)))) : 1;
    const ghosts = [...s.order[inUse]].flatMap((feature, place) => (s.ghosts[category * s.p + feature] ? [place] : []));
    Object.assign(now, { curve: first, ghosts, ceiling });
    plot.draw(lines, { highest, ceiling, ghosts, p: s.p, ylabel: against === "people" ? "R² with people" : "R² with all features" });
    // The other orders' curves follow once this one is on the screen.
    const next = others.find(name => !s.hasCurve(name, metric, against));
    if (next) setTimeout(() => {
      if (now.s !== s || now.metric !== metric || now.against !== against) return;
      s.curve(next, metric, against);
      outline();
      write();
    });
  }

  // The R² of the few images for which a rare feature happens to fire says nothing about the set
  // (rarefire.studies.Study.r2 has the same rule).
  const enough = (s, curve, k) => 2 * curve.images[k - 1] >= s.n;

  const describe = () => `${now.k} ${WHICH[now.order]} of ${now.s.p} features (${percent(now.k / now.s.p)})`;

  function write() {
    const { s, k, r, ghosts, curve, against } = now, inserted = s.order[now.order], to = against === "people" ? "people’s judgments" : `all ${s.p}`;
    const images = curve.images[k - 1], defined = r === r && enough(s, curve, k), value = `R² ${defined ? shortly(r * r) : "undefined"}`;
    share.input.value = k;
    share.value.textContent = `${k} of ${s.p} (${percent(k / s.p)})`;
    share.input.setAttribute("aria-valuetext", `${describe()}, ${value}`);
    r2.textContent = `R² = ${defined ? shortly(r * r) : "–"}`;
    r2.dataset.r = r;
    const only = images < s.n ? `: ${images} of ${s.n} images have a similarity there` : "";
    const why = only || (k === 1 && now.metric === "correlation" ? ": a correlation needs at least two" : ": the similarities do not vary");
    said.textContent = defined ? ` of the ${describe()} with ${to}${only}` : ` undefined for the ${describe()}${why}`;
    none.hidden = images === s.n;
    plot.move(k, `R² against the share of features kept. ${value} for the ${describe()}.`);
    const dead = [...s.poz.keys()].filter(place => s.poz[inserted[place]] === 1);
    const among = places => (places.length ? `${places.filter(place => place < k).length} of ${places.length}` : "there are none");
    rows.signed.show(against === "people" && shortly(defined ? r : NaN));
    rows.ceiling.show(now.ceiling && now.ceiling.map(c => shortly(c * c, 2)).join("–"));
    rows.poz.show(now.order !== "random" && percent(s.poz[inserted[k - 1]], 1));
    rows.dead.show(among(dead));
    rows.ghosts.show(s.ghosts.some(Boolean) && among(ghosts));
  }

  // The cell that is pointed at, or else the one that stays: a click, a tap or a key kept it.
  function look(at, stays) {
    if (stays) pinned = at;
    cell = at ?? pinned;
    words.setAttribute("aria-live", stays ? "polite" : "off");
    show();
  }

  function show() {
    const { s } = now;
    for (const map of [left, right]) map.mark(cell, pinned);
    for (const canvas of pictures) canvas.hidden = !cell || !s.sprite;
    if (!cell) {
      words.textContent = "Point at a cell (click or tap to keep it), or go there with the arrow keys: which two images does it compare?";
      return;
    }
    const [i, j] = cell, place = i * s.n + j;
    if (s.sprite?.sheet.complete) cell.forEach((image, side) => {
      const { sheet, tile: [width, height], columns } = s.sprite, pen = pictures[side].getContext("2d");
      pen.imageSmoothingEnabled = width >= 48;
      pen.clearRect(0, 0, 96, 96);
      pen.drawImage(sheet, (image % columns) * width, Math.floor(image / columns) * height, width, height, 0, 0, 96, 96);
    });
    if (i === j) {
      words.textContent = `An image of ${s.name(i)} with itself.`;
      return;
    }
    const full = s.full(now.metric)[place], kept = partial[place];
    const parts = [`${shortly(full, 2)} with all features`, `${kept === kept ? shortly(kept, 2) : "undefined"} with those kept`];
    if (now.against === "people") parts.unshift(`${shortly(s.scale[0] + s.scale[1] * s.people()[place], 2)} for people`);
    words.textContent = `${s.name(i)} and ${s.name(j)} (row ${i + 1}, column ${j + 1}): dissimilarity ${parts.join(", ")}.`;
  }

  function table() {
    const { s, curve } = now, inserted = s.order[now.order];
    return [...curve.r].map((r, i) => ({ k: i + 1, feature: inserted[i], poz: s.poz[inserted[i]], r, r2: r * r, n_images: curve.images[i] }));
  }

  const unmount = mount({ model, el }, root, ["scene", "fraction", "order", "metric", "reference", "category"], draw);
  return () => {
    unmount();
    for (const { sheet } of sprites) URL.revokeObjectURL(sheet.src);
  };
}

function range(values, n) {
  let least = Infinity, highest = -Infinity;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      const v = values[i * n + j];
      if (v < least) least = v;
      if (v > highest) highest = v;
    }
  return least < highest ? [least, highest] : [0, 1];
}

// A row of the list of facts; hidden where there is nothing to show.
function fact(title) {
  const value = element("dd"), box = element("div", {}, element("dt", {}, title), value);
  return { box, show(text) { box.hidden = !text; value.textContent = text || ""; } };
}

// As Python rounds.
function roundHalfEven(x) {
  const near = Math.round(x);
  return x % 1 === 0.5 && near % 2 ? near - 1 : near;
}

export default { render };
