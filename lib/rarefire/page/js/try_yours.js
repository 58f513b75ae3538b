// An embedding of the reader's own, measured in the page: nothing leaves it. rarefire.page.try_yours says what is shown.

const ORDERS = { low: "low→high PoZ", high: "high→low PoZ", random: "random" };
const METRICS = { correlation: "Pearson", cosine: "cosine" };
const REFERENCES = { own: "all features", people: "people" };
const ROLES = {
  embedding: ["Embedding", "images × features, post-ReLU", ".npy,.npz,.csv,.tsv,.txt"],
  people: ["An RDM (optional)", "of the same images, such as people’s", ".npy,.npz,.csv,.tsv,.txt"],
  labels: ["Labels (optional)", "a category a line, or image,category", ".csv,.tsv,.txt"],
};
const MOST_WORKERS = 4;
const module = source => URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
const grouped = n => n.toLocaleString("en");

// --- what runs beside the page ---

class Beside {
  constructor(source) {
    this.source = module(source);
    this.workers = [];
  }

  // What a task ends with; `told` is called with { stage, share } until then.
  ask(index, message, told) {
    const worker = (this.workers[index] ??= new Worker(this.source));
    return new Promise((answer, fail) => {
      worker.onmessage = ({ data }) => {
        if ("share" in data) told(data);
        else if ("done" in data) answer(data.done);
        else fail(data);
      };
      worker.onerror = event => { event.preventDefault(); fail({ failed: `This page failed: ${event.message}` }); };
      worker.postMessage(message);
    });
  }

  stop() {
    for (const worker of this.workers) worker?.terminate();
    this.workers = [];
  }
}

// --- choosing files ---

function drop(role, chosen) {
  const [title, hint, accept] = ROLES[role], id = unique("file"), name = element("b"), said = element("span", {}, hint);
  const input = element("input", { type: "file", id, accept, change: () => { if (input.files.length) chosen(input.files[0]); } });
  const clear = element("button", { type: "button", hidden: true, "aria-label": `Remove ${title}`, click: () => { input.value = ""; chosen(null); } }, "×");
  const area = element("label", { for: id }, name, said);
  const box = element("div", { class: "rf-drop", "data-role": role }, input, area, clear);
  const over = on => event => { event.preventDefault(); box.classList.toggle("rf-over", on); };
  box.addEventListener("dragover", over(true));
  box.addEventListener("dragleave", over(false));
  box.addEventListener("drop", event => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) chosen(file);
  });
  const show = file => {
    name.textContent = file ? file.name : title;
    said.textContent = file ? `${title.replace(" (optional)", "")}: choose another, or drop it here` : `${hint}: choose a file, or drop it here`;
    clear.hidden = !file || role === "embedding";
    box.classList.toggle("rf-given", !!file);
  };
  show(null);
  return { box, show, input };
}

function tick(label, changed) {
  const input = element("input", { type: "checkbox", ...OWN_KEYS, change: changed });
  return { box: element("label", { class: "rf-tick" }, input, label), input };
}

// --- PoZ ---

const KINDS = { active: "active", rare: "rare: PoZ > 80 %", dead: "dead: PoZ = 1" };
const kind = (poz, rare) => (poz === 1 ? "dead" : poz > rare ? "rare" : "active");

// Twenty columns, and one for features that never fire.
function histogram(poz, rare) {
  const BINS = 20, counts = new Array(BINS + 1).fill(0);
  for (const v of poz) counts[v === 1 ? BINS : Math.min(BINS - 1, Math.floor(v * BINS + 1e-9))]++;
  const { values } = fromZero(Math.max(...counts)), most = values.at(-1), step = 248 / (BINS + 1.6), bottom = 128, height = 116;
  const x = bin => 44 + (bin + (bin === BINS ? 0.6 : 0)) * step, y = count => bottom - (count / most) * height;
  const bars = counts.map((count, bin) => element("svg:rect", {
    class: `rf-kind-${bin === BINS ? "dead" : (bin + 0.5) / BINS > rare ? "rare" : "active"}`, x: x(bin) + 0.5, width: step - 1, y: y(count), height: bottom - y(count),
  }, element("svg:title", {}, bin === BINS ? `${grouped(count)} never fire` : `PoZ ${percent(bin / BINS)} to ${percent((bin + 1) / BINS)}: ${grouped(count)} features`)));
  const grid = values.flatMap(v => [element("svg:path", { class: "rf-grid", d: `M44 ${y(v)}H292` }), svgText(39, y(v) + 3.5, grouped(v), "end")]);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(share => svgText(44 + share * BINS * step, bottom + 16, percent(share), "middle"));
  return element("svg:svg", { viewBox: "0 0 300 172", role: "img", class: "rf-curve rf-still", "aria-label": `Histogram of PoZ of ${poz.length} features.` },
    ...grid, ...bars, ...ticks.slice(0, 4), svgText(292, bottom + 16, "never fire", "end"), svgText(44 + (BINS * step) / 2, bottom + 36, "PoZ, share of images for which a feature is 0", "middle"));
}

// --- the page ---

class TryYours {
  constructor(model) {
    this.model = model;
    this.beside = new Beside(model.get("worker"));
    this.files = { embedding: null, people: null, labels: null };
    this.arrays = { embedding: null, people: null };
    this.run = 0; // counts what was begun: what an earlier one finds comes too late
    this.undo = () => {};
    this.shown = { metric: "correlation", against: "own", k: null };
    this.build();
  }

  build() {
    this.drops = Object.fromEntries(Object.keys(ROLES).map(role => [role, drop(role, file => this.choose(role, file))]));
    this.similarity = tick("the RDM holds similarities", () => this.begin());
    this.byPosition = tick("match rows by position, whatever their names", () => this.begin());
    this.which = Object.fromEntries(["embedding", "people"].map(role => [role, menu(`Array of the ${role === "people" ? "RDM" : "embedding"}’s file`, chosen => {
      this.arrays[role] = this.listed[role][chosen - 1] ?? null;
      if (this.arrays[role] !== null) this.begin();
    })]));
    this.listed = { embedding: [], people: [] };
    for (const { box } of Object.values(this.which)) box.hidden = true;
    this.example = element("button", { type: "button", class: "rf-button", click: () => this.again() }, "The example");
    this.stopped = element("button", { type: "button", class: "rf-button", hidden: true, click: () => this.stop() }, "Stop");
    this.bar = element("progress", { max: 1, value: 0, hidden: true, "aria-label": "progress" });
    this.status = element("p", { class: "rf-status", role: "status", "aria-live": "polite" });
    this.results = element("div", { class: "rf-results", hidden: true });
    const still = event => event.preventDefault(); // a file that is dropped beside its place does not take the page's
    this.box = element("div", { class: "rf-try", role: "group", "aria-label": "Try yours", dragover: still, drop: still },
      element("div", { class: "rf-drops" }, ...Object.values(this.drops).map(({ box }) => box)),
      element("div", { class: "rf-controls" }, ...Object.values(this.which).map(({ box }) => box), this.similarity.box, this.byPosition.box, this.example),
      element("div", { class: "rf-progress" }, this.status, this.bar, this.stopped), this.results);
  }

  // The example, as files: what is measured of it is what would be of the reader's.
  again() {
    const bytes = this.model.get("example"), labels = this.model.get("labels");
    const part = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    this.sample = new File([part], "example.npy");
    this.files = { embedding: this.sample, people: null, labels: labels ? new File([labels], "example.txt") : null };
    this.arrays = { embedding: null, people: null };
    this.similarity.input.checked = this.byPosition.input.checked = false;
    return this.begin();
  }

  choose(role, file) {
    if (role === "embedding" && this.files.embedding === this.sample) this.files.labels = null; // they were the example's
    this.files[role] = file;
    if (role in this.arrays) this.arrays[role] = null;
    return this.begin();
  }

  say(text, wrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("rf-wrong", wrong);
  }

  busy(on) {
    this.bar.hidden = this.stopped.hidden = !on;
    this.box.setAttribute("aria-busy", String(on));
  }

  stop() {
    this.run++;
    this.beside.stop();
    this.busy(false);
    this.say("Stopped. Nothing was kept.");
  }

  // Read and measure the files that are there.
  async begin() {
    const run = ++this.run, { files } = this, start = performance.now(), mine = () => run === this.run;
    this.beside.stop();
    for (const [role, { show }] of Object.entries(this.drops)) show(files[role]);
    for (const [role, { box }] of Object.entries(this.which)) if (this.arrays[role] === null) box.hidden = true;
    if (!files.embedding) return;
    this.results.hidden = true;
    this.busy(true);
    this.bar.value = 0;
    this.say(`Reading ${files.embedding.name} …`);
    try {
      const seed = this.model.get("seed"), shares = [], helpers = Math.min(MOST_WORKERS, navigator.hardwareConcurrency ?? 1) - 1;
      const told = ({ stage, share }, worker = 0) => {
        if (!mine()) return;
        shares[worker] = share;
        this.bar.value = stage === "reading" ? 0.2 * share : 0.2 + (0.8 * shares.reduce((all, one) => all + one, 0)) / shares.length;
      };
      const asked = { ...files, array: this.arrays.embedding, peopleArray: this.arrays.people, similarity: this.similarity.input.checked, byPosition: this.byPosition.input.checked };
      const found = await this.beside.ask(0, { task: "read", ...asked, seed, work: this.model.get("work"), helpers }, told);
      if (!mine()) return;
      this.say(`Computing curves of ${grouped(found.m)} images …`);
      const large = found.m ** 2 * found.p > 2 ** 26, of = large ? helpers + 1 : 1, { orders, pairs } = found;
      shares.splice(0, shares.length, ...Array(of).fill(0));
      const parts = await Promise.all(shares.map((_, part) =>
        this.beside.ask(part, { task: "measure", orders, part, of, ...(part ? { pairs } : {}) }, share => told(share, part))));
      if (!mine()) return;
      delete found.pairs;
      this.beside.stop();
      found.curves = curvesOf(parts);
      found.seconds = (performance.now() - start) / 1000;
      await this.show(found);
      if (!mine()) return;
      this.say(`${files.embedding.name}: ${grouped(found.n)} images × ${grouped(found.p)} features, measured in ${found.seconds.toFixed(1)} s. Nothing left this machine.`);
    } catch (error) {
      if (!mine()) return;
      this.beside.stop();
      this.say(error.refused ?? error.failed ?? `This page failed: ${error.message}`, true);
      if (error.arrays) this.offer(error);
    }
    this.busy(false);
  }

  // A choice among several arrays of a file.
  offer({ role, arrays }) {
    const { box, show } = this.which[role];
    this.listed[role] = arrays;
    show(["choose one", ...arrays], 0);
    box.hidden = false;
  }

  async show(found) {
    this.undo();
    this.found = found;
    const stem = found.name.replace(/(?<=.)\.[^.]+$/, ""), { n, m, p, poz } = found, rare = this.model.get("rare");
    const kinds = Array.from(poz, v => kind(v, rare)), count = one => kinds.filter(v => v === one).length;
    const key = Object.entries(KINDS).map(([one, text]) => element("li", {}, element("i", { class: `rf-kind-${one}` }), `${grouped(count(one))} ${text}`));
    const notes = [...found.said, this.scope(found)];
    this.metric = choice("Similarity", METRICS, value => { this.shown.metric = value; this.draw(); });
    this.against = choice("Compare with", REFERENCES, value => { this.shown.against = value; this.draw(); });
    this.against.box.hidden = !found.curves[0].people;
    if (!found.curves[0].people) this.shown.against = "own";
    this.plot = new CurvePlot(share => { this.shown.k = this.nearest(share * p); this.draw(); });
    this.values = element("ul", { class: "rf-lines" });
    this.place = element("p", { class: "rf-under" });
    this.shown.k = this.nearest(0.2 * p);
    const explorer = element("div");
    const all = `${grouped(p)} features over ${grouped(n)} images`;
    this.results.replaceChildren(
      element("ul", { class: "rf-notes" }, ...notes.map(text => element("li", {}, text))),
      element("div", { class: "rf-halves" },
        element("section", {}, element("h2", {}, "How silent"), element("p", {}, `PoZ of ${all}:`), element("ul", { class: "rf-lines" }, ...key), histogram(poz, rare)),
        element("section", {}, element("h2", {}, "What the first features carry"), element("div", { class: "rf-controls" }, this.metric.box, this.against.box), this.plot.box, this.place, this.values)),
      element("p", { class: "rf-foot" }, "To keep: ", download(`${stem}-poz`, () => this.pozTable(), "PoZ (CSV)"), ", ",
        download(`${stem}-curves`, () => this.curveTable(), "curves (CSV)"), ...(found.scene ? [", ", this.saved(stem)] : []), "."),
      element("h2", {}, "The explorer"), explorer);
    this.results.hidden = false;
    this.draw();
    this.undo = found.scene ? await this.explore(explorer) : () => {};
    if (!found.scene) explorer.append(element("p", {}, `An explorer takes up to 65,535 features; got ${grouped(p)}. Choose some of them.`));
  }

  // Over which images what was computed.
  scope({ n, m, p, shown, seed, steps }) {
    const every = steps.length === p ? "at every number of features" : "at every per cent of the features";
    const curves = m < n ? `curves of ${grouped(m)} images, drawn with seed ${seed}` : "curves of all images";
    const explorer = shown < m ? `; the explorer shows ${grouped(shown)} images, drawn with seed ${seed}` : "";
    return `PoZ over all ${grouped(n)} images; ${curves}, ${every}${explorer}. Equal PoZ goes by feature; the random order has seed ${seed}.`;
  }

  nearest(k) {
    return this.found.steps.reduce((best, step) => (Math.abs(step - k) < Math.abs(best - k) ? step : best));
  }

  curve(order) {
    const { metric, against } = this.shown, { r, images } = this.found.curves.find(curve => curve.order === order && curve.metric === metric)[against];
    const enough = i => images[i] >= this.model.get("least") * this.found.m;
    return Float64Array.from(r, (v, i) => (enough(i) ? v * v : NaN));
  }

  draw() {
    const { metric, against, k } = this.shown, { p, steps } = this.found;
    this.metric.show(metric);
    this.against.show(against);
    const lines = ["random", "high", "low"].map(order => [order, this.curve(order)]), at = steps.indexOf(k), people = against === "people";
    this.plot.draw(lines, { highest: people ? axisEnd(lines, null) : 1, ceiling: null, ghosts: [], p, steps, ylabel: `R² with ${REFERENCES[against]}` });
    const values = lines.toReversed().map(([order, r2]) => [order, shortly(r2[at])]);
    const few = values.some(([, r2]) => r2 === "–") ? " (–: fewer than half of the images have a similarity there, or they do not vary)" : "";
    this.place.textContent = `R² of the first ${grouped(k)} of ${grouped(p)} features (${percent(k / p)}); click on the curves for others${few}:`;
    this.values.replaceChildren(...values.map(([order, r2]) => element("li", { "data-order": order }, element("i", { class: `rf-${order}` }), `${ORDERS[order]} ${r2}`)));
    this.plot.move(k, `R² against the share of features. ${this.place.textContent} ${values.map(([order, r2]) => `${ORDERS[order]} ${r2}`).join(", ")}.`);
  }

  pozTable() {
    const rare = this.model.get("rare");
    return Array.from(this.found.poz, (poz, feature) => ({ feature, poz, kind: kind(poz, rare) }));
  }

  curveTable() {
    const { curves, steps } = this.found;
    return curves.flatMap(({ order, metric, ...by }) => Object.keys(REFERENCES).filter(name => by[name]).flatMap(name =>
      Array.from(steps, (k, i) => ({ order, metric, reference: REFERENCES[name], k, r: by[name].r[i], r2: by[name].r[i] ** 2, n_images: by[name].images[i] }))));
  }

  // The state of an explorer, as a notebook would keep it.
  state() {
    const { scene, name, n, shown, seed } = this.found, drawn = shown < n ? `${grouped(shown)} of ${grouped(n)} images, drawn with seed ${seed}` : `${grouped(n)} images`;
    return {
      scenes: [scene], sprites: [], colours: this.model.get("colours"), scene: 0, fraction: 1, order: "low", metric: "correlation",
      reference: "network", firing: false, category: 0, feature: null, view: "matrices", least: this.model.get("least"), name: "yours", caption: escaped(`${name}: ${drawn}. PoZ counted over all ${grouped(n)} images.`),
    };
  }

  async explore(el) {
    const values = this.state(), listeners = {}, address = module(this.model.get("explorer"));
    const { default: widget } = await import(address);
    URL.revokeObjectURL(address);
    return widget.render({ el, model: {
      get: name => (name === "caption" ? "" : values[name]),
      set(name, value) {
        if (values[name] === value) return;
        values[name] = value;
        for (const listener of [...(listeners[`change:${name}`] ?? [])]) listener();
      },
      save_changes() {},
      on(event, listener) { (listeners[event] ??= new Set()).add(listener); },
      off(event, listener) { listeners[event]?.delete(listener); },
    } });
  }

  // A link to the explorer as one page, which is made when it is asked for.
  saved(stem) {
    const link = element("a", { class: "rf-numbers", href: "#", download: `${stem}.html`, click: () => {
      link.href = address(this.page(stem), "text/html");
      setTimeout(url => URL.revokeObjectURL(url), 60000, link.href);
    } }, "the explorer (one HTML page)");
    return link;
  }

  page(title) {
    const { model } = this, buffers = [], plain = (value, path) => {
      if (value instanceof DataView) {
        buffers.push({ path, data: base64(value), encoding: "base64" });
        return null;
      }
      if (Array.isArray(value)) return value.map((one, i) => plain(one, [...path, i]));
      return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one, [...path, key])])) : value;
    };
    const state = { _esm: model.get("explorer"), ...plain(this.state(), []) };
    const kept = { state: { explorer: { model_name: "AnyModel", model_module: "anywidget", model_module_version: "*", state, buffers } } };
    const widgets = JSON.stringify(kept).replaceAll("<", "\\u003c"), heading = escaped(title);
    const figure = `<figure class="rf-figure" id="figure-yours" data-widget="explorer"><p>This figure needs scripts.</p><figcaption>${state.caption}</figcaption></figure>`;
    const parts = { HEADING: heading, FIGURE: figure, STATE: widgets };
    return model.get("page").replace(/@(HEADING|FIGURE|STATE)@/g, (_, part) => parts[part]);
  }
}

const escaped = text => text.replace(/[&<>"]/g, sign => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

function base64(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength), parts = [];
  for (let i = 0; i < bytes.length; i += 24576) parts.push(btoa(String.fromCharCode(...bytes.subarray(i, i + 24576))));
  return parts.join("");
}

// Sums of all workers as curves.
function curvesOf(parts) {
  return parts[0].map(({ order, metric, images, people }, c) => {
    const curve = name => {
      const total = Object.fromEntries(Object.keys(parts[0][c][name]).map(key => [key, parts[0][c][name][key].map((_, t) => parts.reduce((sum, part) => sum + part[c][name][key][t], 0))]));
      let [m, b, bb] = [0, 0, 0];
      const r = total.a.map((a, t) => {
        m += total.m[t]; b += total.b[t]; bb += total.bb[t];
        return correlationOf(m, a, total.aa[t], b, bb, total.ab[t]);
      });
      return { r, images };
    };
    return { order, metric, own: curve("own"), people: people && curve("people") };
  });
}

async function render({ model, el }) {
  const page = new TryYours(model);
  await page.again(); // until then the drawing of the example stands in the page
  const unmount = mount({ model, el }, page.box, [], () => {});
  return () => {
    page.run++;
    page.beside.stop();
    page.undo();
    unmount();
  };
}

export default { render };
