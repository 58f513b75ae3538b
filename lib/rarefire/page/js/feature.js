// One feature of a scene: the images it fires for, and what silencing it alone does to the geometry. The numbers are
// those of rarefire.page.scenes.portrait and rarefire.units.without_each.

// --- scenes: the geometry, with names and pictures ---

class Scene extends Geometry {
  constructor(given, least, sprites, firing) {
    super(given, least, firing);
    this.sprite = sprites[given.sprite] ?? null;
  }

  name(image) {
    return this.names[this.labels[image]] ?? `image ${image + 1}`;
  }

  // A single one of its category.
  title(image) {
    return this.names.length ? `${this.name(image)} (image ${image + 1})` : this.name(image);
  }

  // Put an image on a canvas, once it is there.
  stamp(pen, image, x, y, width, height) {
    if (!this.sprite?.sheet.complete) return;
    const { sheet, tile: [w, h], columns } = this.sprite;
    pen.drawImage(sheet, (image % columns) * w, Math.floor(image / columns) * h, w, h, x, y, width, height);
  }
}

// Pictures of images; `loaded` is called when some are there.
const sheets = (given, loaded) => given.map(({ file, type, tile, columns }) => {
  const sheet = Object.assign(new Image(), { onload: loaded, src: address(file, type) });
  return { sheet, tile, columns };
});

// --- the geometry without a single feature ---

const LITTLE = 1e-6; // of a vector's squared norm: what is left of it where more would lose too many digits

// In units of the norms of whole vectors, dropping a feature takes u_i v_j + v_i u_j off the similarity of two
// images, and 2 u_i v_i off the squared norm 1.
class Silencing {
  constructor(s, metric) {
    const { n, p, embedding } = s, { scale } = s.prefixes("low", metric);
    Object.assign(this, { s, metric, n, p, whole: s.full(metric).map(d => 1 - d), lost: new Float64Array(p).fill(NaN), done: 0 });
    this.unit = Float64Array.from({ length: n }, (_, i) => scale[i * p + p - 1]);
    this.mean = new Float64Array(n);
    this.fires = new Int32Array(n); // for how many features an image does
    this.odd = new Int32Array(n).fill(-1); // the only feature that differs from all others
    for (let i = 0; i < n; i++) {
      const row = embedding.subarray(i * p, (i + 1) * p);
      const usual = p > 2 && row[0] !== row[1] ? row[2] : row[0], other = row.findIndex(v => v !== usual);
      for (const v of row) { this.mean[i] += v / p; this.fires[i] += v !== 0; }
      if (other >= 0 && row.findLastIndex(v => v !== usual) === other) this.odd[i] = other;
    }
  }

  // Whether an image has no similarity without the feature.
  lonely(i, f, leftOut) {
    if (!(this.unit[i] > 0)) return true;
    if (leftOut && this.metric === "correlation") return this.p < 3 || this.odd[i] === f;
    return this.fires[i] === +(this.s.embedding[i * this.p + f] !== 0);
  }

  // r of the RDM with feature f silenced (0), or left out, and the whole RDM; and how many images it is over.
  without(f, leftOut = false) {
    const { n, p, whole, metric, unit, mean, s: { embedding } } = this;
    const u = new Float64Array(n), v = new Float64Array(n), norm = new Float64Array(n); // 1 / norm; 0 for those left out
    let images = 0, cancels = false;
    for (let i = 0; i < n; i++) {
      if (this.lonely(i, f, leftOut)) continue;
      const x = embedding[i * p + f], own = x * unit[i], centred = metric === "correlation" ? (x - mean[i]) * unit[i] : own;
      if (metric === "cosine") [u[i], v[i]] = [own, own / 2];
      else if (leftOut) [u[i], v[i]] = [centred, (centred * p) / (p - 1) / 2];
      else [u[i], v[i]] = [own, centred - (own * (1 - 1 / p)) / 2];
      const square = 1 - 2 * u[i] * v[i];
      cancels ||= square < LITTLE;
      norm[i] = 1 / Math.sqrt(square);
      images++;
    }
    const long = cancels && this.longWay(f, leftOut);
    let m = 0, a = 0, aa = 0, b = 0, bb = 0, ab = 0;
    for (let i = 0; i < n; i++) {
      if (norm[i] === 0) continue;
      const ui = u[i], vi = v[i], own = norm[i];
      for (let j = i + 1; j < n; j++) {
        if (norm[j] === 0) continue;
        const c = i * n + j, x = long ? long[c] - 1 : (whole[c] - ui * v[j] - vi * u[j]) * own * norm[j] - 1, y = whole[c] - 1;
        m++; a += x; aa += x * x; b += y; bb += y * y; ab += x * y;
      }
    }
    return { r: correlationOf(m, a, aa, b, bb, ab), images };
  }

  // Similarities (n, n) without the feature, from the start.
  longWay(f, leftOut) {
    const { n, p, metric, s } = this, others = [...s.features.keys()].filter(g => g !== f), kept = Float64Array.from(s.embedding);
    for (let i = 0; i < n; i++) kept[i * p + f] = 0;
    return similarities(residuals(kept, n, p, [...others, f], metric), leftOut ? p - 1 : p, new Float64Array(n * n));
  }

  // What silencing takes from R², feature by feature, for some milliseconds. Returns whether all are there.
  go(milliseconds) {
    const { n, p, lost, s } = this, until = performance.now() + milliseconds;
    for (; this.done < p && performance.now() < until; this.done++) {
      let silent = true;
      for (let i = 0; silent && i < n; i++) silent = s.embedding[i * p + this.done] === 0;
      const { r } = silent ? { r: 1 } : this.without(this.done);
      lost[this.done] = r === r ? 1 - r * r : 1;
    }
    return this.done === p;
  }

  // 1 for the feature that changes most, once all are there.
  rank(f) {
    const same = 1e-12 * Math.max(...this.lost);
    return 1 + this.lost.filter(other => other > this.lost[f] + same).length;
  }
}

// --- its portrait ---

const SHOWN = 8, ROWS = 12, BARS = 640;

// For whom it fires: activations (n), images from the highest on, and of every category that is here the mean
// activation, the share of its images, and whether the feature is its ghost.
function firing(s, f) {
  const { n, p, groups } = s, activations = Float64Array.from({ length: n }, (_, i) => s.embedding[i * p + f] * s.sizes[i]);
  const images = [...activations.keys()].filter(i => activations[i] > 0).sort((i, j) => activations[j] - activations[i] || i - j);
  const kinds = s.categories().map(([start, size]) => {
    const own = activations.subarray(start, start + size), c = s.labels[start];
    const fires = own.filter(v => v > 0).length;
    return { name: groups[c], mean: own.reduce((sum, v) => sum + v, 0) / size, share: fires / size, ghost: s.ghosts[c * p + f] === 1 };
  });
  return { activations, images, kinds };
}

// R² near 1, with two digits of what is missing.
function near(r2) {
  const lost = 1 - r2;
  if (r2 !== r2) return "–";
  return lost < 1e-12 ? "1" : r2.toFixed(Math.min(12, Math.max(3, Math.floor(-Math.log10(lost)) + 2)));
}

const amount = value => (value === 0 ? "0" : Number(value.toPrecision(2)).toString().replace("e+", "e"));
const th = k => `${k}${(k % 100 > 10 && k % 100 < 14 ? "" : ["", "st", "nd", "rd"][k % 10]) || "th"}`;
const MEASURES = { correlation: "Pearson", cosine: "cosine" };

// Its place in the page: closed at first. `choose` is called with a feature's index in the network, or with null for
// the one that the page follows by itself, where there is one (`follows` says what that is).
class FeaturePanel {
  constructor({ name, choose, follows = "" }) {
    Object.assign(this, { name, s: null, f: 0, metric: "correlation", kinds: [], aloud: 0 });
    this.go = f => choose(this.s.features[f]);
    this.which = element("b");
    const step = (by, label, sign) => element("button", { type: "button", class: "rf-button", "aria-label": label, click: () => this.step(by) }, sign);
    this.following = element("button", { type: "button", class: "rf-button", hidden: !follows, click: () => choose(null) }, follows);
    this.bars = element("svg:path", { class: "rf-loss" });
    this.silent = element("svg:path", { class: "rf-silent" });
    this.here = element("svg:path", { class: "rf-here" });
    const drawing = element("svg:svg", { viewBox: `0 0 ${BARS} 60`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.silent, this.bars, this.here);
    this.strip = element("div", { class: "rf-strip", role: "slider", tabindex: 0, "aria-label": "Feature, in order of PoZ", "aria-valuemin": 1, ...OWN_KEYS, keydown: event => this.key(event) }, drawing);
    dragged(this.strip, share => this.at(Math.floor(share * this.s.p)));
    this.height = element("span");
    this.words = element("p", { class: "rf-said" });
    this.live = element("p", { class: "rf-hidden", "aria-live": "polite" });
    this.tiles = Array.from({ length: SHOWN }, () => {
      const canvas = element("canvas", { width: 96, height: 96, role: "img" }), text = element("small");
      return { canvas, text, box: element("div", {}, canvas, text) };
    });
    this.title = element("b");
    this.rows = element("tbody");
    this.more = element("small");
    this.table = element("table", {}, element("thead", {}, element("tr", {}, ...["category", "mean activation", "fires for"].map(head => element("th", { scope: "col" }, head)))), this.rows);
    this.facts = Object.fromEntries(["poz", "silenced", "rank", "median", "out"].map(key => [key, [element("dt"), element("dd")]]));
    this.box = element("details", { class: "rf-feature", toggle: () => this.draw() },
      element("summary", {}, "One feature: which images it fires for, and what silencing it does"),
      element("div", { class: "rf-steps" }, step(-1, "The next more active feature", "‹"), step(1, "The next rarer feature", "›"), this.which, this.following),
      this.strip, element("p", { class: "rf-ends" }, element("span", {}, "most active"), this.height, element("span", {}, "rarest")), this.words, this.live,
      element("div", { class: "rf-portrait" },
        element("div", {}, this.title, element("div", { class: "rf-most-for" }, ...this.tiles.map(tile => tile.box))),
        element("div", { class: "rf-kinds-of" }, this.table, this.more),
        element("div", {}, element("dl", {}, ...Object.values(this.facts).map(pair => element("div", {}, ...pair))),
          element("p", { class: "rf-foot" }, download(`${name}-one-by-one`, () => this.table_(), "Every feature (CSV)")))));
  }

  open() { this.box.open = true; }

  // Feature f of scene s, by index among those in use. `follows`: whether the page chose it itself.
  show(s, f, metric, follows = false) {
    const other = s !== this.s || metric !== this.metric;
    this.following.setAttribute("aria-pressed", follows);
    Object.assign(this, { s, f, metric });
    if (other) this.stale = true;
    this.draw();
  }

  at(place) {
    const { s } = this;
    this.go(s.order.low[Math.min(s.p - 1, Math.max(0, place))]);
  }

  step(by) { this.at(this.place + by); }

  get place() { return this.s.order.low.indexOf(this.f); }

  key(event) {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!by) return;
    event.preventDefault();
    this.step(by);
  }

  get silencing() { return this.s.once(`silencing ${this.metric}`, () => new Silencing(this.s, this.metric)); }

  draw() {
    if (!this.box.open || !this.s) return;
    const { s, f, metric, place } = this, found = firing(s, f), feature = s.features[f];
    if (this.stale) this.begin();
    this.which.textContent = `Feature ${feature}: ${th(place + 1)} of ${s.p} by PoZ`;
    this.paint(found);
    this.list(found);
    const { r, images } = this.silencing.without(f), out = this.silencing.without(f, true);
    this.result = { silenced: found.images.length ? r * r : 1, out: metric === "cosine" ? (found.images.length ? r * r : 1) : out.r * out.r, images };
    this.say(found);
    const w = Math.max(2.5, (0.8 * BARS) / s.p);
    this.here.setAttribute("d", `M${((place + 0.5) * BARS) / s.p - w / 2} 0h${w}v60h${-w}z`);
  }

  // Another scene or measure: its bars come as they are computed.
  begin() {
    this.stale = false;
    this.strip.setAttribute("aria-valuemax", this.s.p);
    this.outline();
    const { silencing } = this, step = () => {
      if (!this.box.open || this.stale || this.silencing !== silencing) return;
      const before = performance.now();
      const all = silencing.go(8);
      if (all || before - (this.drawn ?? 0) > 100) this.outline();
      if (all) this.draw(); else setTimeout(step);
    };
    if (silencing.done < this.s.p) setTimeout(step);
  }

  outline() {
    const { s, silencing: { lost, done } } = this, { p } = s, columns = Math.min(p, BARS), wide = BARS / columns, w = columns > 200 ? wide : 0.8 * wide;
    const most = Math.max(1e-12, ...lost.map(v => (v === v ? v : 0)));
    let bars = "", silent = "";
    for (let c = 0; c < columns; c++) {
      let high = -1;
      for (let place = Math.floor((c * p) / columns); place < ((c + 1) * p) / columns && place < p; place++) {
        const v = lost[s.order.low[place]];
        if (v > high) high = v;
      }
      const x = (c * wide + (wide - w) / 2).toFixed(2), size = high > 1e-12 ? Math.max(2, (58 * high) / most) : 1.5;
      if (high > 1e-12) bars += `M${x} 60h${w.toFixed(2)}v-${size.toFixed(2)}h-${w.toFixed(2)}z`;
      else silent += `M${x} 60h${w.toFixed(2)}v-${size}h-${w.toFixed(2)}z`;
    }
    this.bars.setAttribute("d", bars);
    this.silent.setAttribute("d", silent);
    this.drawn = performance.now();
    this.height.textContent = done === p ? `height: what silencing takes from R², up to ${amount(most)}` : "computing …";
  }

  paint({ activations, images }) {
    const { s } = this;
    this.title.textContent = images.length ? "Fires most for" : "Fires for none";
    this.tiles.forEach(({ canvas, text, box }, i) => {
      const image = images[i], there = image !== undefined;
      box.style.visibility = there ? "" : "hidden";
      canvas.hidden = !s.sprite;
      if (!there) { text.textContent = "–"; return; }
      text.textContent = s.sprite ? amount(activations[image]) : `${s.title(image)}: ${amount(activations[image])}`;
      if (!s.sprite) return;
      canvas.setAttribute("aria-label", s.title(image));
      canvas.title = s.title(image);
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = s.sprite.tile[0] >= 48;
      pen.clearRect(0, 0, 96, 96);
      s.stamp(pen, image, 0, 0, 96, 96);
    });
  }

  list({ kinds }) {
    const many = kinds.length > ROWS, order = many ? [...kinds].sort((a, b) => b.mean - a.mean) : kinds, shown = order.slice(0, ROWS);
    this.table.parentElement.hidden = kinds.length < 2;
    if (kinds.length < 2) return;
    const most = Math.max(...kinds.map(kind => kind.mean)) || 1;
    this.rows.replaceChildren(...shown.map(({ name, mean, share, ghost }) => element("tr", {}, element("th", { scope: "row", title: name }, name),
      element("td", {}, element("i", { style: `width:${((60 * mean) / most).toFixed(1)}%` }), element("span", {}, amount(mean))),
      element("td", {}, `${percent(share)}${ghost ? " ghost" : ""}`))));
    this.more.textContent = many ? `The ${ROWS} of ${kinds.length} categories with the highest mean.` : "";
  }

  say({ images, activations }) {
    const { s, f, metric, silencing: { lost, done }, result } = this, { silenced, out } = result, all = done === s.p, feature = s.features[f], never = !images.length;
    const rank = all ? this.silencing.rank(f) : 0, sorted = all ? lost.filter((_, g) => s.poz[g] < 1).sort() : [], middle = sorted[sorted.length >> 1];
    const place = never ? "none" : all ? (rank === 1 ? "largest" : `${th(rank)} largest`) : "…";
    const rows = {
      poz: ["PoZ", percent(s.poz[f], 1)], silenced: ["R², silenced (0)", near(silenced)], rank: [`change, of ${s.p}`, place],
      median: ["R², median that fires", all ? near(1 - (middle ?? 0)) : "…"], out: ["R², left out", near(out)],
    };
    for (const [key, texts] of Object.entries(rows)) this.facts[key].forEach((part, i) => { part.textContent = texts[i]; });
    const left = result.images < s.n && !never ? ` (${result.images} of ${s.n} images have a similarity without it)` : "";
    const said = never ? `Feature ${feature} fires for none of these ${s.n} images: ` + (metric === "cosine" ? "silenced or left out, it changes no cosine."
      : `silenced, it changes nothing; left out, it changes what Pearson’s r centres by (R² = ${near(out)}).`)
      : `Feature ${feature} fires for ${images.length} of ${s.n} images, most for ${s.title(images[0])}. Silenced alone, it leaves R² = ${near(silenced)} of the whole RDM (${MEASURES[metric]})${left}${all ? `: the ${place} change of ${s.p} features` : ""}.`;
    this.words.textContent = said;
    this.strip.setAttribute("aria-valuenow", this.place + 1);
    this.strip.setAttribute("aria-valuetext", `feature ${feature}, ${this.place + 1} of ${s.p}, PoZ ${percent(s.poz[f], 1)}, R² ${near(silenced)} when silenced`);
    // Politely: once the reader rests, and not on top of what the slider says itself.
    clearTimeout(this.aloud);
    this.aloud = setTimeout(() => { this.live.textContent = document.activeElement === this.strip ? "" : said; }, 600);
  }

  table_() {
    const { s, silencing, metric } = this;
    silencing.go(Infinity);
    return [...s.order.low].map((f, place) => {
      const { activations, images } = firing(s, f), r2 = 1 - silencing.lost[f], { r } = silencing.without(f, true);
      return { place: place + 1, feature: s.features[f], poz: s.poz[f], images: images.length, highest: images.length ? activations[images[0]] : 0,
        image: images.length ? images[0] + 1 : "", r2_silenced: r2, r2_left_out: metric === "cosine" ? r2 : r * r, rank: silencing.rank(f) };
    });
  }
}
