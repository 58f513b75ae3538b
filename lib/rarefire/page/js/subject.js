// You are the subject; rarefire.page.subject says what travels in the page, geometry.js holds the curve.

// --- dissimilarities from arrangements: the same steps as rarefire.multiarrange ---

const UTILITY = 10, COST = 1.2, CLOSEST = 0.02, TOLERANCE = 1e-12, STEPS = 10000, BETTER = 1 + 1e-9, LEAST_IMAGES = 3;

const placeOf = (i, j, n) => (i < j ? i * n - (i * (i + 1)) / 2 + j - i - 1 : placeOf(j, i, n));

// Of a trial: where its pairs lie in the condensed RDM, their distances on the screen, and evidence.
function pairsOf({ images, places }, n) {
  const where = [], d = [], w = [];
  for (let a = 0; a < images.length; a++)
    for (let b = a + 1; b < images.length; b++) {
      const distance = Math.hypot(places[a][0] - places[b][0], places[a][1] - places[b][1]);
      where.push(placeOf(images[a], images[b], n));
      d.push(distance);
      w.push(Math.max(distance, CLOSEST) ** 2);
    }
  return { where, d, w, squares: d.reduce((all, v) => all + v * v, 0) };
}

// Trials of which the first holds all images -> condensed RDM and evidence.
function estimate(trials, n) {
  const size = (n * (n - 1)) / 2, given = trials.map(trial => pairsOf(trial, n));
  const evidence = new Float64Array(size), count = new Float64Array(size);
  let rdm = new Float64Array(size);
  const scaled = values => {
    const by = Math.sqrt(size / dot(values, values));
    return values.map(v => v * by);
  };
  for (const { where, d, w } of given) where.forEach((p, c) => { evidence[p] += w[c]; rdm[p] += d[c]; count[p]++; });
  rdm = scaled(rdm.map((v, p) => v / count[p]));
  for (let step = 0; step < STEPS; step++) {
    let next = new Float64Array(size), moved = 0;
    for (const { where, d, w, squares } of given) {
      const by = Math.sqrt(where.reduce((all, p) => all + rdm[p] ** 2, 0) / squares);
      where.forEach((p, c) => { next[p] += w[c] * d[c] * by; });
    }
    next = scaled(next.map((v, p) => v / evidence[p]));
    for (let p = 0; p < size; p++) moved = Math.max(moved, Math.abs(next[p] - rdm[p]));
    rdm = next;
    if (moved <= TOLERANCE) break;
  }
  return { rdm, evidence };
}

// Once for each series of trials: a slider does not wait for it again.
const ESTIMATES = new WeakMap();

function estimated(trials, n) {
  if (!ESTIMATES.has(trials)) ESTIMATES.set(trials, estimate(trials, n));
  return ESTIMATES.get(trials);
}

// What arranging these images would add, for each unit of cost.
function promise(chosen, { rdm, evidence }, n) {
  const where = [];
  let largest = 0, gain = 0;
  for (let a = 0; a < chosen.length; a++)
    for (let b = a + 1; b < chosen.length; b++) where.push(placeOf(chosen[a], chosen[b], n));
  for (const p of where) largest = Math.max(largest, rdm[p]);
  if (!(largest > 0)) return 0;
  for (const p of where) gain += Math.exp(-UTILITY * evidence[p]) - Math.exp(-UTILITY * (evidence[p] + (rdm[p] / largest) ** 2));
  return gain / chosen.length ** COST;
}

// Lift the weakest.
function nextSubset(found, n) {
  let weakest = 0, chosen = [];
  found.evidence.forEach((w, p) => { if (w < found.evidence[weakest]) weakest = p; });
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (placeOf(i, j, n) === weakest) chosen = [i, j];
  let promised = promise(chosen, found, n);
  while (chosen.length < n) {
    let best = -1, of = -1;
    for (let image = 0; image < n; image++) {
      if (chosen.includes(image)) continue;
      const value = promise([...chosen, image], found, n);
      if (value > best * BETTER) [best, of] = [value, image];
    }
    if (chosen.length >= LEAST_IMAGES && best <= promised * BETTER) break;
    chosen.push(of);
    promised = best;
  }
  return chosen.sort((a, b) => a - b);
}

// --- RDMs of a few images ---

function squareOf(condensed, n, diagonal) {
  const square = new Float64Array(n * n).fill(diagonal);
  for (let i = 0, c = 0; i < n; i++) for (let j = i + 1; j < n; j++) square[i * n + j] = square[j * n + i] = condensed[c++];
  return square;
}

const meanOf = values => values.reduce((all, v) => all + v, 0) / values.length;

function standardised(values) {
  const middle = meanOf(values), spread = Math.sqrt(meanOf(values.map(v => (v - middle) ** 2)));
  return values.map(v => (v - middle) / spread);
}

// Over runs, each on the same scale.
function meanRdm(rdms) {
  if (rdms.length === 1) return rdms[0];
  const same = rdms.map(standardised);
  return same[0].map((_, p) => meanOf(same.map(values => values[p])));
}

// Mean correlation of two runs, and the reliability of the mean over all; as rarefire.reliability.of_parts.
function runsAgree(rdms) {
  if (rdms.length < 2) return null;
  const same = rdms.map(standardised), pairs = [];
  same.forEach((a, i) => same.slice(0, i).forEach(b => pairs.push(meanOf(a.map((v, p) => v * b[p])))));
  const r = meanOf(pairs), m = rdms.length, below = 1 + (m - 1) * r;
  return { r, corrected: r > -1 && below > 0 ? (m * r) / below : NaN };
}

// --- the network beside a subject ---

class Beside {
  constructor(model) {
    [this.n, this.p] = model.get("shape");
    const embedding = numbers(model.get("embedding"), Float32Array), orders = model.get("orders");
    Object.assign(this, { least: model.get("least"), t: model.get("t"), below: model.get("below") });
    this.rates = numbers(model.get("rates"), Float32Array);
    this.order = Object.fromEntries(ORDERS_SHOWN.map(name => [name, numbers(orders[name], Uint16Array)]));
    this.prefixes = Object.fromEntries(ORDERS_SHOWN.map(name => [name, residuals(embedding, this.n, this.p, this.order[name], "correlation")]));
    this.embedding = embedding;
    const all = numbers(model.get("relabelled"), Uint8Array);
    this.relabelled = Array.from({ length: all.length / this.n }, (_, i) => all.subarray(i * this.n, (i + 1) * this.n));
  }

  // Similarities (n, n) in the first k features.
  partial(order, k) {
    return similarities(this.prefixes[order], k, new Float64Array(this.n ** 2));
  }

  // r for every k; NaN where too few images have a similarity.
  curve(order, reference) {
    const { r, images } = nestedCurve(this.prefixes[order], reference);
    return r.map((v, i) => (images[i] >= this.least * this.n ? v : NaN));
  }

  // The R² below which most RDMs lie whose images were relabelled at random.
  chance(order, reference) {
    const { n, p } = this, r2 = this.relabelled.map(to => {
      const other = new Float64Array(n * n);
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) other[i * n + j] = reference[to[i] * n + to[j]];
      return nestedCurve(this.prefixes[order], other).r.map(v => v * v);
    });
    const rank = Math.ceil(this.below * r2.length) - 1;
    return Float64Array.from({ length: p }, (_, k) => {
      const values = r2.map(one => one[k]);
      return values.some(v => v !== v) ? NaN : values.sort((a, b) => a - b)[rank];
    });
  }

  // 95 % of r, from leaving out one image at a time.
  interval(r, partial, reference) {
    const { n } = this, without = Array.from({ length: n }, (_, image) => {
      const left = reference.map((v, c) => (c % n === image || Math.floor(c / n) === image ? NaN : v));
      return agreement(partial, left, n);
    });
    const middle = meanOf(without), half = this.t * Math.sqrt(((n - 1) / n) * without.reduce((all, v) => all + (v - middle) ** 2, 0));
    return [Math.max(-1, r - half), Math.min(1, r + half)];
  }
}

const ORDERS_SHOWN = ["low", "high"], ORDER_NAMES = { low: "low→high PoZ", high: "high→low PoZ" }, MOST = { low: "most active", high: "rarest" };

// --- what a browser keeps ---

// The browser may forbid it, for a page from disk or a private window: then nothing is kept, and that is said.
class Kept {
  constructor(key) {
    this.key = `rarefire ${key}`;
    try {
      localStorage.setItem(this.key, localStorage.getItem(this.key) ?? "{}");
      this.works = true;
    } catch {
      this.works = false;
    }
  }

  read() {
    if (!this.works) return {};
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  }

  write(what) {
    if (!this.works) return;
    try {
      localStorage.setItem(this.key, JSON.stringify(what));
    } catch {
      this.works = false;
    }
  }
}

// --- the arena ---

const HALF = 0.65, RING = 0.575; // the stage goes from −HALF to HALF arena diameters; images wait on a ring around it

const inArena = ([x, y]) => Math.hypot(x, y) <= 0.5;

class Arena {
  // `moved` is called when an image has been put down.
  constructor(n, names, picture, moved) {
    Object.assign(this, { names, moved, at: new Map(), fixed: false });
    this.tokens = names.map((name, image) => this.token(image, picture(image)));
    this.said = element("p", { class: "rf-hidden", role: "status", "aria-live": "polite" });
    this.stage = element("div", { class: "rf-stage", role: "application" }, element("div", { class: "rf-arena", "aria-hidden": "true" }), ...this.tokens);
    this.box = element("div", { class: "rf-stage-box" }, this.stage, this.said);
  }

  token(image, look) {
    const token = element("button", { type: "button", class: "rf-token", style: look, "aria-roledescription": "image to move", ...OWN_KEYS });
    let grip = null, before = null;
    const to = event => {
      const area = this.stage.getBoundingClientRect(), place = (v, start, size) => ((v - start) / size) * 2 * HALF - HALF;
      return [place(event.clientX, area.left, area.width), place(event.clientY, area.top, area.height)];
    };
    token.addEventListener("pointerdown", event => {
      if (this.fixed || !event.isPrimary || event.button) return;
      const [x, y] = to(event), [u, v] = before = this.at.get(image);
      grip = [u - x, v - y];
      token.setPointerCapture(event.pointerId);
      this.lift(token);
    });
    token.addEventListener("pointermove", event => {
      if (!grip) return;
      const [x, y] = to(event);
      this.put(image, [x + grip[0], y + grip[1]]);
    });
    const drop = back => {
      if (!grip) return;
      grip = null;
      if (back) this.put(image, before);
      token.classList.remove("rf-lifted");
      this.moved();
    };
    token.addEventListener("pointerup", () => drop(false));
    token.addEventListener("pointercancel", () => drop(true));
    token.addEventListener("keydown", event => {
      if (this.fixed || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = event.shiftKey ? 0.1 : 0.02, [x, y] = this.at.get(image);
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      const jump = (event.key === "Enter" || event.key === " ") && !inArena([x, y]);
      if (!by && !jump) return;
      event.preventDefault();
      event.stopPropagation();
      const far = Math.hypot(x, y);
      this.put(image, by ? [x + by[0], y + by[1]] : [(0.4 * x) / far, (0.4 * y) / far]);
      this.lift(token);
      this.said.textContent = `${this.names[image]}: ${this.where(image)}`;
      this.moved();
    });
    token.addEventListener("focus", () => this.lift(token));
    return token;
  }

  lift(token) {
    for (const other of this.tokens) other.classList.toggle("rf-lifted", other === token);
  }

  // Images and where they are; `fixed`: to look at.
  show(at, label, fixed = false) {
    Object.assign(this, { at: new Map(at), fixed });
    this.stage.setAttribute("aria-label", label);
    this.stage.classList.toggle("rf-fixed", fixed);
    this.tokens.forEach((token, image) => {
      token.hidden = !this.at.has(image);
      token.tabIndex = fixed ? -1 : 0;
      if (!token.hidden) this.put(image, this.at.get(image));
    });
  }

  put(image, place) {
    const most = HALF - 0.05, [x, y] = place.map(v => Math.min(most, Math.max(-most, v)));
    this.at.set(image, [x, y]);
    const token = this.tokens[image], part = v => `${(100 * (v + HALF)) / (2 * HALF)}%`;
    token.style.left = part(x);
    token.style.top = part(y);
    token.classList.toggle("rf-waits", !this.fixed && !inArena([x, y]));
    token.setAttribute("aria-label", `${this.names[image]}: ${this.where(image)}`);
  }

  // In words: for who hears the page.
  where(image) {
    const [x, y] = this.at.get(image), share = v => `${Math.round(100 * Math.abs(v))} %`;
    if (!inArena([x, y])) return "outside the circle.";
    const near = [...this.at].filter(([other, place]) => other !== image && inArena(place))
      .map(([other, [u, v]]) => [Math.hypot(u - x, v - y), other]).sort((a, b) => a[0] - b[0])[0];
    const to = near ? ` Nearest is ${this.names[near[1]]}, ${share(near[0])} of the diameter away.` : "";
    return `${share(x)} ${x < 0 ? "left" : "right"}, ${share(y)} ${y < 0 ? "up" : "down"} from the middle.${to}`;
  }

  get outside() {
    return [...this.at.values()].filter(place => !inArena(place)).length;
  }
}

// Where images wait: around the arena, mixed.
function seats(images) {
  const mixed = [...images];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
  }
  const by = (2 * Math.PI) / Math.max(8, mixed.length);
  return mixed.map((image, s) => [image, [RING * Math.sin(s * by), -RING * Math.cos(s * by)]]).sort((a, b) => a[0] - b[0]);
}

// Into the arena: as large as it, around its middle.
function fitted(places) {
  const middle = [0, 1].map(c => (Math.min(...places.map(p => p[c])) + Math.max(...places.map(p => p[c]))) / 2);
  const off = places.map(place => place.map((v, c) => v - middle[c])), most = Math.max(...off.map(([x, y]) => Math.hypot(x, y))) || 1;
  return off.map(place => place.map(v => (0.46 * v) / most));
}

// --- the task: runs of trials ---

class Task {
  constructor(model, names, picture, changed) {
    Object.assign(this, { model, names, changed, sure: false });
    this.n = names.length;
    this.kept = new Kept(`subject ${model.get("name")} ${names.join(" ")}`);
    this.arena = new Arena(this.n, names, picture, () => this.settle());
    this.lead = element("p", { class: "rf-lead", "aria-live": "polite" });
    this.bar = element("progress", { "aria-label": "Pairs with enough evidence" });
    this.state = element("p", { class: "rf-state" });
    this.left = element("p", { class: "rf-left", role: "status" });
    const button = (text, click, kind = "") => element("button", { type: "button", class: `rf-button ${kind}`, click }, text);
    this.next = button("Next", () => this.finish(), "rf-main");
    this.back = button("Back to the trial before", () => this.undo());
    this.stop = button("End this run here", () => this.end());
    this.again = button("Begin another run", () => this.begin(), "rf-main");
    this.wipe = button("", () => this.forget());
    this.storage = element("p", { class: "rf-foot" });
    this.box = element("div", { class: "rf-task" }, this.arena.box,
      element("div", { class: "rf-side-task" }, this.lead, this.left, element("div", { class: "rf-buttons" }, this.next, this.again, this.back, this.stop), this.bar, this.state,
        element("div", { class: "rf-buttons" }, this.wipe), this.storage));
    const { runs, draft } = this.kept.read();
    if (!model.get("runs").length && this.sound(runs)) set(model, { runs, ...(runs.some(run => run.done && run.trials.length) ? { who: "you" } : {}) });
    this.draft = this.fits(draft) ? draft : null;
  }

  // What was kept may be another page's, or damaged.
  sound(runs) {
    const place = p => Array.isArray(p) && p.length === 2 && p.every(Number.isFinite);
    const trial = t => t?.images?.length >= LEAST_IMAGES && t.places?.length === t.images.length && t.places.every(place)
      && new Set(t.images).size === t.images.length && t.images.every(i => Number.isInteger(i) && i >= 0 && i < this.n);
    return Array.isArray(runs) && runs.every(run => Array.isArray(run?.trials) && run.trials.every(trial)
      && (!run.trials.length || run.trials[0].images.length === this.n));
  }

  fits(draft) {
    return Array.isArray(draft) && draft.length >= LEAST_IMAGES
      && draft.every(one => Number.isInteger(one?.[0]) && one[0] >= 0 && one[0] < this.n && one[1]?.length === 2 && one[1].every(Number.isFinite));
  }

  get runs() {
    return this.model.get("runs");
  }

  // The run that goes on; null between runs.
  get open() {
    const last = this.runs.at(-1) ?? { trials: [], done: false };
    return last.done ? null : last;
  }

  keep() {
    this.kept.write({ runs: this.runs, draft: this.draft });
  }

  replace(run, traits = {}) {
    const runs = this.runs, others = runs.length && !runs.at(-1).done ? runs.slice(0, -1) : runs;
    set(this.model, { runs: [...others, run], ...traits });
  }

  // Show what is to be done.
  draw() {
    const run = this.open, { arena, n } = this, number = this.runs.length || 1;
    const { trials } = run ?? this.runs.at(-1), found = trials.length ? estimated(trials, n) : null;
    if (run) {
      const images = found ? nextSubset(found, n) : [...Array(n).keys()];
      const same = this.draft && String(this.draft.map(([i]) => i)) === String(images);
      if (!same) this.draft = seats(images);
      arena.show(this.draft, `Arena for ${images.length} images. Arrow keys move the image with the focus, with shift in larger steps; enter puts it into the circle.`);
      this.lead.textContent = !found
        ? `${number > 1 ? `Run ${number}. ` : ""}Drag all ${n} images into the circle: the more alike two are to you, the closer together. There is no right answer.`
        : `Now only these ${images.length}, in the whole circle: what lay close together before, further apart. Only distances among them count.`;
    } else {
      const { places } = scaling(squareOf(found.rdm, n, 0), n), at = fitted(signed(places));
      arena.show(at.map((place, image) => [image, place]), "Map of your RDM, from all trials of the last run.", true);
      const runs = this.runs.length;
      this.lead.textContent = `Run ${runs} is done: here is the map of what you said, and your RDM stands below. `
        + (runs < 2 ? "How far can it be trusted? Arrange once more, now or another day: how well two runs agree is your reliability." : "You can go on: each run makes the mean more reliable.");
    }
    const enough = found ? [...found.evidence].filter(w => w >= this.model.get("required")).length : 0, pairs = (n * (n - 1)) / 2;
    this.bar.max = pairs;
    this.bar.value = enough;
    this.state.textContent = `${run ? `Trial ${run.trials.length + 1} of at most ${this.model.get("most")}. ` : ""}${enough} of ${pairs} pairs have enough evidence`
      + (found ? `; the weakest has ${Math.min(...found.evidence).toFixed(2)} of ${this.model.get("required")}.` : ".");
    this.next.hidden = !run;
    this.again.hidden = !!run;
    this.back.hidden = !trials.length;
    this.stop.hidden = !run?.trials.length;
    this.wipe.hidden = !this.runs.length;
    this.wipe.textContent = this.sure ? "Really delete all your runs?" : "Delete all my runs";
    this.storage.textContent = this.kept.works
      ? "You can stop at any time and go on later: this browser keeps your arrangements for this page. Nobody else gets them: nothing is sent anywhere."
      : "This browser keeps nothing for this page: closing it loses your arrangements, so save the file below. Nothing is sent anywhere.";
    this.count();
  }

  count() {
    const { outside } = this.arena, spots = new Set([...this.arena.at.values()].map(String)).size;
    this.next.disabled = outside > 0 || spots < 2;
    const text = !this.open ? "" : outside ? `${outside} of ${this.arena.at.size} still outside the circle.` : spots < 2 ? "All lie on one spot." : "All are inside. Move them until it is right, then go on.";
    if (this.left.textContent !== text) this.left.textContent = text;
  }

  // An image was put down.
  settle() {
    this.draft = [...this.arena.at];
    this.keep();
    this.count();
  }

  finish() {
    const run = this.open, trial = { images: this.draft.map(([i]) => i), places: this.draft.map(([, place]) => place) };
    const trials = [...run.trials, trial], { evidence } = estimated(trials, this.n);
    const done = trials.length >= this.model.get("most") || Math.min(...evidence) >= this.model.get("required");
    this.change({ trials, done }, done ? { who: "you", run: 0 } : {});
    (done ? this.again : this.arena.tokens[this.draft?.[0]?.[0] ?? 0]).focus();
  }

  // The trial before, as it was left.
  undo() {
    const run = this.open ?? this.runs.at(-1), last = run.trials.at(-1), runs = this.runs.slice(0, -1);
    this.draft = last.images.map((image, i) => [image, last.places[i]]);
    set(this.model, { runs: [...runs, { trials: run.trials.slice(0, -1), done: false }] });
    this.keep();
    this.changed();
  }

  end() {
    this.change({ trials: this.open.trials, done: true }, { who: "you", run: 0 });
    this.again.focus();
  }

  begin() {
    this.draft = null;
    this.sure = false;
    set(this.model, { runs: [...this.runs, { trials: [], done: false }] });
    this.keep();
    this.changed();
  }

  forget() {
    this.sure = !this.sure;
    if (!this.sure) {
      this.draft = null;
      set(this.model, { runs: [], who: "simulated", run: 0 });
      this.keep();
    }
    this.changed();
  }

  change(run, traits) {
    this.draft = null;
    this.sure = false;
    this.replace(run, traits);
    this.changed();
    this.keep();
  }
}

// --- what came out ---

class Matrix {
  constructor(colours, look) {
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-roledescription": "matrix", ...OWN_KEYS });
    this.pen = this.canvas.getContext("2d");
    this.title = element("b");
    this.frame = element("span", { class: "rf-mark", hidden: true });
    this.box = element("div", { class: "rf-heat rf-matrix" }, this.title, element("div", {}, this.canvas, this.frame));
    Object.assign(this, { colours, n: 1, at: [0, 1] });
    const under = event => {
      const area = this.canvas.getBoundingClientRect(), index = (v, size) => Math.min(this.n - 1, Math.max(0, Math.floor((v / size) * this.n)));
      return [index(event.clientY - area.top, area.height), index(event.clientX - area.left, area.width)];
    };
    this.canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(under(event)); });
    this.canvas.addEventListener("click", event => look(under(event)));
    this.canvas.addEventListener("keydown", event => {
      const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!by) return;
      event.preventDefault();
      look(this.at.map((v, c) => Math.min(this.n - 1, Math.max(0, v + by[c]))));
    });
  }

  paint(square, limits, title, description) {
    const n = Math.sqrt(square.length);
    if (n !== this.n) this.n = this.canvas.width = this.canvas.height = n;
    this.title.textContent = title;
    this.canvas.setAttribute("aria-label", description);
    paintMatrix(this.pen, square, limits, this.colours);
  }

  mark(cell) {
    this.frame.hidden = !cell;
    if (!cell) return;
    this.at = cell;
    const part = v => `${(100 * v) / this.n}%`;
    this.frame.style = `top:${part(cell[0])};left:${part(cell[1])};width:${part(1)};height:${part(1)}`;
  }
}

const AXES = { left: 42, top: 8, width: 250, height: 128, bottom: 136 };

// Whether what noise leaves is drawn: high above all curves, it would press them flat.
const near = (ceiling, r2) => ceiling > 0 && ceiling <= 2.5 * Math.max(...r2);

// R² against the share of features kept: both orders, what chance gives, and what the runs' noise leaves.
class Standing {
  constructor(moved) {
    this.box = element("svg:svg", { viewBox: "0 0 300 168", role: "img", class: "rf-curve" });
    this.still = element("svg:g");
    this.line = element("svg:path", { class: "rf-cut" });
    this.dot = element("svg:circle", { r: 4.5 });
    this.box.append(this.still, this.line, this.dot);
    dragged(this.box, share => moved((share * 300 - AXES.left) / AXES.width));
  }

  draw({ curves, order, chance, ceiling, p }) {
    const { left, top, width, height, bottom } = AXES, known = Object.values(curves).flatMap(r => [...r]).filter(v => v === v).map(v => v * v);
    const most = Math.max(0.05, 1.1 * Math.max(...known, ...(chance ?? []).filter(v => v === v)), near(ceiling, known) ? ceiling : 0);
    const axis = fromZero(most), end = axis.values.at(-1);
    Object.assign(this, { p, r: curves[order], order, x: k => left + (k / p) * width, y: v => bottom - (v / end) * height });
    const path = values => {
      let d = "", pen = "M";
      values.forEach((v, i) => {
        if (v === v) { d += `${pen}${this.x(i + 1).toFixed(1)} ${this.y(v).toFixed(1)}`; pen = "L"; } else pen = "M";
      });
      return d;
    };
    const parts = axis.values.flatMap(v => [element("svg:path", { class: "rf-grid", d: `M${left} ${this.y(v)}h${width}` }), svgText(left - 5, this.y(v) + 3.5, v.toFixed(axis.digits), "end")]);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) parts.push(svgText(left + share * width, bottom + 14, percent(share), share === 1 ? "end" : "middle"));
    parts.push(svgText(left + width / 2, bottom + 29, "share of features kept", "middle"),
      element("svg:text", { transform: `translate(9 ${top + height / 2}) rotate(-90)`, "text-anchor": "middle" }, "R²"));
    if (chance) {
      const there = [...chance.keys()].filter(i => chance[i] === chance[i]);
      if (there.length) parts.push(element("svg:path", { class: "rf-around", d: `M${this.x(there[0] + 1)} ${bottom}${path(chance).replaceAll("M", "L")}L${this.x(there.at(-1) + 1)} ${bottom}Z` }));
    }
    if (near(ceiling, known)) parts.push(element("svg:path", { class: "rf-top", d: `M${left} ${this.y(Math.min(end, ceiling))}h${width}` }));
    for (const name of [...ORDERS_SHOWN].sort(name => (name === order ? 1 : -1)))
      parts.push(element("svg:path", { class: `rf-line rf-${name}${name === order ? " rf-now" : ""}`, d: path(curves[name].map(v => v * v)) }));
    this.still.replaceChildren(...parts);
  }

  move(k, description) {
    const r = this.r[k - 1], known = r === r, x = this.x(k);
    this.line.setAttribute("d", `M${x} ${AXES.top}V${AXES.bottom}`);
    this.dot.setAttribute("class", known ? `rf-dot rf-${this.order}` : "rf-none");
    this.dot.setAttribute("cx", x);
    this.dot.setAttribute("cy", this.y(known ? r * r : 0));
    this.box.setAttribute("aria-label", description);
  }
}

class Outcome {
  constructor(model, names, picture) {
    Object.assign(this, { model, names, beside: new Beside(model), key: "", cell: null });
    const { p } = this.beside, colours = numbers(model.get("colours"), Uint8Array);
    const keep = k => set(model, { fraction: Math.min(p, Math.max(1, Math.round(k))) / p });
    this.who = choice("Whose RDM", { you: "yours", simulated: "a simulated subject’s" }, value => set(model, { who: value, run: 0 }));
    this.yours = this.who.box.querySelector("input[value=you]");
    this.run = menu("Run", index => set(model, { run: index }));
    this.order = choice("Order of insertion", ORDER_NAMES, value => set(model, { order: value }), { swatches: true });
    this.share = slider("Features kept", { min: 1, max: p, input: () => keep(this.share.input.valueAsNumber) });
    this.r2 = element("output", { class: "rf-r2", ...QUIET });
    this.said = element("span");
    this.badge = element("p", { class: "rf-badge", role: "status" });
    const look = cell => { this.cell = cell; this.point(); };
    this.matrices = [new Matrix(colours, look), new Matrix(colours, look)];
    this.pictures = [0, 1].map(() => element("i", { class: "rf-digit", "aria-hidden": "true" }));
    this.picture = picture;
    this.words = element("span", { role: "status" });
    this.plot = new Standing(share => keep(share * p));
    this.facts = Object.fromEntries([["interval", "95 % of r, over images"], ["chance", "R² of 95 % of relabelled RDMs is below"], ["all", "R² with all features"], ["runs", "two runs correlate"], ["corrected", "reliability of their mean"]].map(([name, title]) => {
      const value = element("dd"), box = element("div", {}, element("dt", {}, title), value);
      return [name, { box, show(text) { box.hidden = !text; value.textContent = text || ""; } }];
    }));
    this.saved = download("", () => this.table(), "Save this RDM (CSV)");
    const features = download(`${model.get("name")}-features`, () => this.features(), "The network’s features (CSV)");
    this.command = element("code");
    const bar = element("div", { class: "rf-bar" }, "alike", element("i", { style: gradient(colours) }), "unlike");
    this.noise = element("span");
    const key = element("p", { class: "rf-foot" }, "Shaded: what 95 % of relabelled RDMs stay below.", this.noise);
    this.box = element("div", { class: "rf-outcome" }, element("b", { class: "rf-heading" }, "Beside the network"), this.badge,
      element("div", { class: "rf-controls" }, this.who.box, this.run.box, this.order.box), this.share.box, element("p", { class: "rf-result" }, this.r2, this.said),
      element("div", { class: "rf-two-by-two" },
        element("div", {}, element("div", { class: "rf-maps" }, ...this.matrices.map(m => m.box)), element("div", { class: "rf-under" }, element("div", { class: "rf-detail" }, ...this.pictures, this.words), bar)),
        element("div", { class: "rf-side" }, element("div", {}, this.plot.box, key), element("dl", {}, ...Object.values(this.facts).map(f => f.box)))),
      element("p", { class: "rf-foot" }, this.saved, " · ", features, ". Then, on your machine: ", this.command));
  }

  // Condensed RDMs of all runs that are done: who sees the network's in between arranges other things.
  rdms(who) {
    const runs = this.model.get(who === "you" ? "runs" : "simulated").filter(run => run.done && run.trials.length);
    return runs.map(run => estimated(run.trials, this.beside.n).rdm);
  }

  draw() {
    const { model, beside } = this, { n, p } = beside, order = model.get("order"), mine = this.rdms("you");
    const who = model.get("who") === "you" && mine.length ? "you" : "simulated";
    const rdms = who === "you" ? mine : this.fixed ??= this.rdms("simulated");
    const run = model.get("run") <= rdms.length && rdms.length > 1 ? model.get("run") : 0;
    const human = run ? rdms[run - 1] : meanRdm(rdms), agree = runsAgree(rdms), single = run || rdms.length === 1;
    const key = JSON.stringify([who, run, order, single, [...human].slice(0, 30)]);
    this.now = { who, run, rdms, human, order, single };
    if (this.key !== key) {
      this.key = key;
      const reference = squareOf(human.map(v => -v), n, 0);
      Object.assign(this, { reference, chance: null, curves: Object.fromEntries(ORDERS_SHOWN.map(name => [name, beside.curve(name, reference)])) });
      const ceiling = agree ? (single ? Math.max(0, agree.r) : agree.corrected) : NaN;
      this.state = { curves: this.curves, order, ceiling, p };
      const r2 = ORDERS_SHOWN.flatMap(name => [...this.curves[name]]).filter(v => v === v).map(v => v * v);
      this.noise.textContent = !(ceiling > 0) ? "" : near(ceiling, r2)
        ? " Dashed: what noise between runs leaves for any model." : ` Noise between runs leaves any model an R² of ${shortly(ceiling, 2)}, above this picture.`;
      this.plot.draw(this.state);
      this.matrices[0].paint(squareOf(human, n, Math.min(...human)), range(squareOf(human, n, 0), n), who === "you" ? "you" : "simulated", `Dissimilarities of ${n} images, ${this.whose()}.`);
      setTimeout(() => { // chance takes longer than a slider may wait
        if (this.key !== key) return;
        this.chance = beside.chance(order, reference);
        this.plot.draw({ ...this.state, chance: this.chance });
        this.write();
      });
    }
    this.yours.disabled = !mine.length;
    this.who.show(who);
    this.order.show(order);
    this.run.show([...(rdms.length > 1 ? ["mean of all runs"] : []), ...rdms.map((_, i) => `run ${i + 1}`)], rdms.length > 1 ? run : 0);
    this.badge.textContent = who === "you"
      ? `Yours: ${run || rdms.length === 1 ? `run ${run || 1}` : `the mean of ${rdms.length} runs`}. One person, ${n} images, ${(n * (n - 1)) / 2} pairs: a demonstration, no study.`
      : `A simulated subject: made up by a program from classes and pixels, with noise. No person arranged this.${mine.length ? "" : " Yours stands here when you have ended a run."}`;
    this.badge.classList.toggle("rf-simulated", who !== "you");
    this.facts.runs.show(agree && `r = ${shortly(agree.r, 2)}`);
    this.facts.corrected.show(agree && `${shortly(agree.corrected, 2)} (Spearman–Brown)`);
    const stem = who === "you" ? "you" : "simulated-subject", file = `${stem}-${single ? `run-${run || 1}` : `${rdms.length}-runs`}.csv`;
    this.saved.download = file;
    this.command.replaceChildren(element("span", {}, `rarefire people ${file}`), " ", element("span", {}, `--embedding ${model.get("name")}-features.csv`));
    this.write();
    this.point();
  }

  whose() {
    const { who, run, rdms } = this.now, which = run ? `, run ${run}` : rdms.length > 1 ? `, mean of ${rdms.length} runs` : "";
    return `${who === "you" ? "yours" : "of a simulated subject, no person"}${which}`;
  }

  write() {
    const { beside, now: { who, order, single }, curves } = this, { n, p } = beside, k = featuresKept(this.model.get("fraction"), p);
    const r = curves[order][k - 1], known = r === r, partial = this.partial = beside.partial(order, k);
    const the = k === p ? `all ${p} features` : `the ${k} ${MOST[order]} of ${p} features (${percent(k / p)})`;
    const own = who === "you" ? "your RDM" : "the simulated subject’s RDM", which = the.replace("the ", "");
    this.share.input.value = k;
    this.share.value.textContent = `${k} of ${p} (${percent(k / p)})`;
    this.share.input.setAttribute("aria-valuetext", `${which}, R² ${known ? shortly(r * r) : "undefined"}`);
    this.r2.textContent = `R² = ${known ? shortly(r * r) : "–"}`;
    this.r2.dataset.r = r;
    const chance = this.chance?.[k - 1], interval = known ? beside.interval(r, partial, this.reference) : null;
    if (interval) this.r2.dataset.low = interval[0];
    this.said.textContent = known ? `(r = ${shortly(r, 2)}) between ${the} and ${own}` : `undefined for ${the}`;
    this.facts.interval.show(interval && `${shortly(interval[0], 2)} to ${shortly(interval[1], 2)}`);
    this.facts.chance.show(chance === chance && chance != null && shortly(chance));
    this.facts.all.show(shortly(curves[order][p - 1] ** 2));
    if (chance != null) this.r2.dataset.chance = chance; else delete this.r2.dataset.chance;
    this.plot.move(k, `R² with ${own} against the share of features kept. ${known ? shortly(r * r) : "Undefined"} for ${the}.`);
    const d = partial.map(s => 1 - s);
    this.matrices[1].paint(d, range(d, n), `network, ${k} of ${p}`, `Dissimilarities of ${n} images in ${the} of ${this.model.get("network")}.`);
  }

  point() {
    const { cell, names, beside: { n } } = this;
    for (const m of this.matrices) m.mark(cell);
    this.pictures.forEach((box, side) => { box.hidden = !cell; if (cell) box.style = this.picture(cell[side]); });
    if (!cell) { this.words.textContent = `Rows and columns go from ${names[0]} to ${names.at(-1)}. Point at a cell, tap it, or go there with the arrow keys: which two images?`; return; }
    const [i, j] = cell, rank = (values, place) => values.filter(v => v < values[place]).length, pairs = (n * (n - 1)) / 2;
    if (i === j) { this.words.textContent = `${names[i]} with itself.`; return; }
    const place = placeOf(i, j, n), network = [];
    for (let a = 0; a < n; a++) for (let b = a + 1; b < n; b++) network.push(1 - this.partial[a * n + b]);
    const said = values => `${percent(rank([...values], place) / (pairs - 1))}`;
    this.words.textContent = `${names[i]} and ${names[j]}: of all pairs, ${said(this.now.human)} are more alike ${this.now.who === "you" ? "to you" : "to the simulated subject"}, ${said(network)} to the network.`;
  }

  // Pairs, as `rarefire people` reads them: a column of subjects where there are several runs.
  table() {
    const { who, single, human, rdms } = this.now, { names } = this, rows = [], source = who === "you" ? "arranged by the reader" : "simulated, no person";
    const add = (rdm, more) => {
      let c = 0;
      for (let i = 0; i < names.length; i++) for (let j = i + 1; j < names.length; j++) rows.push({ image1: names[i], image2: names[j], dissimilarity: rdm[c++], ...more, source });
    };
    if (single) add(human, {});
    else rdms.forEach((rdm, i) => add(rdm, { subject: `${who === "you" ? "run" : "simulated run"} ${i + 1}` }));
    return rows;
  }

  features() {
    const { embedding, p } = this.beside;
    return this.names.map((image, i) => ({ image, ...Object.fromEntries([...embedding.slice(i * p, (i + 1) * p)].map((v, f) => [`feature ${f + 1}`, v])) }));
  }
}

function render({ model, el }) {
  const names = model.get("names"), { file, type, tile: [w, h], columns } = model.get("sprite"), sheet = address(file, type);
  const rows = Math.ceil(names.length / columns), across = (i, many) => (many > 1 ? (100 * i) / (many - 1) : 0);
  const picture = i => `background-image:url(${sheet});background-size:${100 * columns}% ${100 * rows}%;background-position:${across(i % columns, columns)}% ${across(Math.floor(i / columns), rows)}%;aspect-ratio:${w}/${h}`;
  let drawn = null;
  const task = new Task(model, names, picture, () => { drawn = null; soon(); }), outcome = new Outcome(model, names, picture);
  const root = element("div", { class: "rf-subject", role: "group", "aria-label": "You are the subject" }, task.box, outcome.box);
  // The arena is drawn when runs change, not while a slider moves.
  const draw = () => {
    if (drawn !== model.get("runs")) { drawn = model.get("runs"); task.draw(); }
    outcome.draw();
  };
  const soon = () => draw();
  const unmount = mount({ model, el }, root, ["runs", "who", "run", "fraction", "order", "required", "most"], draw);
  return () => {
    unmount();
    URL.revokeObjectURL(sheet);
  };
}

export default { render };
