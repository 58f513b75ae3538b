// Features that die while a network is trained; see rarefire.page.dying. A worker trains (dying_worker.js, convnet.js).

function render({ model, el }) {
  const fixed = model.get("fixed"), bytes = name => numbers(model.get(name), Uint8Array);
  const worker = new Worker(address(model.get("worker"), "text/javascript"));
  const tell = (what, given) => worker.postMessage([what, given]);
  let now = null, past = [], first = null, running = false, ending = false, until = 0, asleep = false, touched = false;

  const rate = slider("Learning rate", { min: 0, max: fixed.rates.length - 1, input: () => chosen("learning_rate", fixed.rates, rate) });
  const decay = slider("Weight decay", { min: 0, max: fixed.decays.length - 1, input: () => chosen("weight_decay", fixed.decays, decay) });
  const wide = slider("Features (width)", { min: 0, max: fixed.widths.length - 1, input: () => chosen("width", fixed.widths, wide) });
  const go = button("Train", () => (running ? pause() : train()), "rf-main");
  const again = button("Start again", () => { fresh(); say(`Untrained again, seed ${model.get("seed")}: press Train.`); });
  const other = button("Other seed", () => { set(model, { seed: model.get("seed") + 1 }); });
  const said = element("p", { class: "rf-said", role: "status" });
  const count = element("output", QUIET), detail = element("span");
  const dots = new Dots(fixed), course = new CoursePlot(), curve = new LeftPlot();
  const key = (kind, text) => element("li", {}, element("i", { class: `rf-${kind}` }), text);
  const root = element("div", { class: "rf-dying", role: "group", "aria-label": "A network to train, and its features" },
    element("div", { class: "rf-three" }, rate.box, decay.box, wide.box),
    element("div", { class: "rf-buttons" }, go, again, other), said,
    element("p", { class: "rf-result" }, count, detail), dots.box,
    element("ul", { class: "rf-lines" }, key("active", "active"), key("rare", `rare: silent for more than ${percent(fixed.rare)} of the training images`), key("dead", "dead: silent for all of them")),
    element("div", { class: "rf-side" }, course.box, curve.box),
    element("p", { class: "rf-foot" }, "Take it with you: ", download(`${model.get("name")}-features`, features, "features"), ", ",
      download(`${model.get("name")}-course`, courseTable, "course"), ", ", download(`${model.get("name")}-weights`, weights, "weights"), " (CSV)."));

  function button(text, click, kind = "") {
    return element("button", { type: "button", class: `rf-button ${kind}`, click: () => { touched = true; click(); } }, text);
  }

  function chosen(name, values, { input }) {
    touched = true;
    set(model, { [name]: values[input.valueAsNumber] });
  }

  function say(text) {
    if (said.textContent !== text) said.textContent = text;
  }

  // --- what the worker is told, and what it says ---

  tell("data", { images: bytes("images"), labels: bytes("labels"), trained: fixed.trained, shown: fixed.shown, batch: fixed.batch });
  hand();
  fresh();

  function hand() {
    tell("rates", { rate: model.get("learning_rate"), decay: model.get("weight_decay"), momentum: fixed.momentum });
  }

  function fresh() {
    [now, running, ending, until, past, first] = [null, false, false, 0, [], null];
    tell("network", { width: model.get("width"), seed: model.get("seed") });
  }

  function train() {
    if (now && !now.finite) fresh();
    if (!until || now?.epoch >= until) until += model.get("epochs");
    [running, ending] = [true, false];
    tell("run", { until });
    say(`Training with learning rate ${model.get("learning_rate")}, weight decay ${model.get("weight_decay")}.`);
    draw();
  }

  function pause() {
    [running, ending] = [false, true];
    tell("pause");
    draw();
  }

  function stopped(text) {
    [running, ending] = [false, false];
    if (now) set(model, { weights: new DataView(now.weights.slice().buffer) });
    say(text);
    draw();
  }

  worker.onmessage = ({ data }) => {
    if (data.paused) {
      if (ending) stopped(now ? `Paused. ${summary()}` : "Paused.");
      return;
    }
    if (data.zeros.length !== model.get("width") || data.seed !== model.get("seed")) return; // of the network before
    now = { ...data, counts: counted(data.zeros) };
    if (!past.length || data.epoch > past.at(-1).epoch) past.push(now);
    else if (data.epoch < past.at(-1).epoch) past = [now];
    first ??= now;
    if (running && !now.finite) stopped("The weights grew beyond all numbers. Lower the learning rate or the decay and start again.");
    else if (running && now.epoch >= until) stopped(`Done. ${summary()}`);
    begin();
    soon();
  };
  worker.onerror = event => say(`The training stopped: ${event.message}`);

  function counted(zeros) {
    const kinds = Array.from(zeros, n => (n === fixed.trained ? "dead" : n / fixed.trained > fixed.rare ? "rare" : "active"));
    const of = kind => kinds.filter(other => other === kind).length;
    return { kinds, active: of("active"), rare: of("rare"), dead: of("dead"), all: zeros.length };
  }

  function summary() {
    const { dead, rare, all } = now.counts;
    return `After ${now.epoch} ${now.epoch === 1 ? "epoch" : "epochs"} ${dead} of ${all} features are dead, ${rare} rare; test accuracy ${percent(now.accuracy, 1)}.`;
  }

  // --- when it works ---

  const sleep = () => {
    if (document.hidden && running) { tell("pause"); asleep = true; }
    else if (!document.hidden && asleep) { asleep = false; if (running) tell("run", { until }); }
  };
  document.addEventListener("visibilitychange", sleep);
  // The first training starts when it comes into view, where nobody minds things that move.
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let seen = false;
  const watch = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    watch.disconnect();
    seen = true;
    begin();
  }, { threshold: 0.3 });
  function begin() {
    if (!seen || !now || touched || still) return;
    touched = true;
    train();
  }

  // --- drawing ---

  let waiting = 0;
  function soon() {
    waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); });
  }

  const shownAs = { learning_rate: "learning rate", weight_decay: "weight decay", width: "width", seed: "seed" };
  const settings = () => Object.keys(shownAs).map(name => model.get(name));
  let known = settings();

  // What was changed, by the reader or from Python.
  function heed() {
    const before = known;
    known = settings();
    Object.entries(shownAs).forEach(([name, title], i) => {
      if (known[i] === before[i]) return;
      hand();
      if (i > 1) { fresh(); say(`${title} ${known[i]}: a new network. Press Train to see.`); }
      else say(running ? `${title} ${known[i]} from here on${now ? ` (epoch ${now.epoch})` : ""}.` : `${title} ${known[i]}: train to see.`);
    });
  }

  function draw() {
    heed();
    for (const [control, name, values] of [[rate, "learning_rate", fixed.rates], [decay, "weight_decay", fixed.decays], [wide, "width", fixed.widths]]) {
      const value = model.get(name);
      control.input.value = values.indexOf(value);
      control.value.textContent = value;
      control.input.setAttribute("aria-valuetext", String(value));
    }
    go.textContent = running ? "Pause" : now?.epoch > 0 && past.length > 1 ? "Train on" : "Train";
    if (!now) return;
    const { active, rare, dead, all } = now.counts;
    root.dataset.epoch = now.epoch;
    count.textContent = `${dead} of ${all} dead`;
    detail.textContent = `${rare} rare, ${active} active; test accuracy ${percent(now.accuracy, 1)}; epoch ${now.epoch.toFixed(2)}`;
    dots.draw(now, `${count.textContent}, ${rare} rare, ${active} active, after ${now.epoch} epochs.`);
    course.draw(past);
    curve.draw(now, first);
  }

  function features() {
    const { zeros, counts: { kinds }, order, r2 } = now; // r2: of the features up to this one, with all
    return Array.from(order, (feature, k) => ({ feature, poz: zeros[feature] / fixed.trained, kind: kinds[feature], r2: r2[k] }));
  }

  function courseTable() {
    return past.map(({ epoch, loss, accuracy, counts: { dead, rare, active } }) => ({ epoch, loss, accuracy, dead, rare, active }));
  }

  function weights() {
    const sizes = [72, 8, 1152, 16, 64 * now.counts.all, now.counts.all, 10 * now.counts.all, 10];
    const names = sizes.flatMap((size, i) => Array(size).fill(fixed.parameters[i]));
    return Array.from(now.weights, (value, i) => ({ parameter: names[i], value }));
  }

  const undo = mount({ model, el }, root, ["learning_rate", "weight_decay", "width", "seed"], draw);
  say("An untrained network. Press Train.");
  watch.observe(root);
  return () => {
    undo();
    cancelAnimationFrame(waiting);
    watch.disconnect();
    document.removeEventListener("visibilitychange", sleep);
    worker.terminate();
  };
}

// --- drawings ---

// A dot for each feature, at its PoZ; each keeps its height. Those that never fire move aside, into columns.
class Dots {
  constructor({ trained, rare }) {
    Object.assign(this, { trained, rare });
    this.box = element("svg:svg", { viewBox: "0 0 640 284", role: "img", class: "rf-histogram" });
    this.marks = [];
  }

  draw({ zeros, counts }, text) {
    const LEFT = 10, WIDTH = 500, TOP = 8, HEIGHT = 220, SIDE = 550, n = zeros.length;
    const columns = Math.ceil((11 * n) / HEIGHT), step = Math.min(12, 80 / columns);
    const x = share => LEFT + WIDTH * share;
    if (this.marks.length !== n) {
      this.marks = Array.from({ length: n }, (_, i) => {
        const mark = element("svg:circle", { r: 4.4, cy: TOP + ((i + 0.5) * HEIGHT) / n });
        mark.append(element("svg:title"));
        return mark;
      });
      const label = (place, text, anchor = "middle") => svgText(place, TOP + HEIGHT + 22, text, anchor);
      this.box.replaceChildren(
        element("svg:rect", { x: x(this.rare), y: TOP - 4, width: x(1) - x(this.rare), height: HEIGHT + 6, class: "rf-rarely" }),
        element("svg:path", { class: "rf-axis", d: `M${LEFT} ${TOP + HEIGHT + 2}h${WIDTH}M${SIDE - 14} ${TOP + HEIGHT + 2}h96` }),
        ...[0, 0.2, 0.4, 0.6, 0.8, 1].map(v => label(x(v), percent(v), v ? "middle" : "start")), label(SIDE + 34, "dead"),
        svgText(LEFT, TOP + HEIGHT + 48, "PoZ: share of training images for which the feature is 0", "start"),
        ...this.marks);
    }
    this.marks.forEach((mark, i) => {
      const dead = zeros[i] === this.trained;
      mark.setAttribute("cx", dead ? SIDE - 8 + step * ((i % columns) + 0.5) : x(zeros[i] / this.trained));
      mark.setAttribute("class", `rf-${counts.kinds[i]}`);
      mark.firstChild.textContent = `feature ${i}: PoZ ${percent(zeros[i] / this.trained, 1)}, ${counts.kinds[i]}`;
    });
    this.box.setAttribute("aria-label", `A dot for each feature by PoZ: ${text}`);
  }
}

// A panel whose vertical axis is a share.
function sharesPanel(title) {
  const plot = element("svg:svg", { viewBox: "0 0 320 205", role: "img", class: "rf-curve" });
  const frame = { left: 38, right: 308, top: 8, bottom: 160 };
  return { ...frame, plot, box: element("div", {}, element("b", {}, title), plot), y: v => frame.bottom - v * (frame.bottom - frame.top) };
}

function sharesGrid({ left, right, bottom, y }, below) {
  return [0, 0.25, 0.5, 0.75, 1].flatMap(v => [
    element("svg:path", { class: "rf-grid", d: `M${left} ${y(v)}H${right}` }), svgText(left - 5, y(v) + 3.5, percent(v), "end"),
  ]).concat(svgText((left + right) / 2, bottom + 36, below, "middle"));
}

const pathOf = points => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

class CoursePlot {
  constructor() {
    Object.assign(this, sharesPanel("While it learns"));
    const key = (kind, text) => element("li", {}, element("i", { class: `rf-${kind}` }), text);
    this.box.append(element("ul", { class: "rf-lines" }, key("accurate", "test accuracy"), key("died", "dead"), key("rarer", "rare or dead")));
  }

  draw(past) {
    const { left, right, bottom, plot, y } = this, last = past.at(-1), most = Math.max(15, last.epoch);
    const x = epoch => left + ((right - left) * epoch) / most, step = most > 60 ? 20 : most > 30 ? 10 : 5;
    const line = (kind, value) => element("svg:path", { class: `rf-line rf-${kind}`, d: pathOf(past.map(at => [x(at.epoch), y(value(at))])) });
    const marks = Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => svgText(x(i * step), bottom + 16, i * step, "middle"));
    plot.replaceChildren(...sharesGrid(this, "epochs"), ...marks,
      line("rarer", ({ counts }) => (counts.dead + counts.rare) / counts.all), line("died", ({ counts }) => counts.dead / counts.all),
      line("accurate", ({ accuracy }) => accuracy));
    plot.setAttribute("aria-label", `Course over ${last.epoch} epochs: test accuracy ${percent(last.accuracy)}, ${percent(last.counts.dead / last.counts.all)} of features dead, ${percent(last.counts.rare / last.counts.all)} rare.`);
  }
}

class LeftPlot {
  constructor() {
    Object.assign(this, sharesPanel("Geometry in the most active features"));
    const key = (kind, text) => element("li", {}, element("i", { class: `rf-${kind}` }), text);
    this.box.append(element("ul", { class: "rf-lines" }, key("low", "R² with all, now"), key("start", "untrained"), key("gone", "dead features begin")));
  }

  draw({ r2, counts }, first) {
    const { left, right, top, bottom, plot, y } = this, p = r2.length;
    const x = share => left + (right - left) * share;
    const line = (kind, values) => element("svg:path", { class: `rf-line rf-${kind}`,
      d: pathOf(Array.from(values, (v, i) => [x((i + 1) / p), y(v), v]).filter(([, , v]) => v === v)) });
    const gone = x((p - counts.dead) / p);
    plot.replaceChildren(...sharesGrid(this, "share of features, low→high PoZ"),
      ...[0, 0.25, 0.5, 0.75, 1].map(v => svgText(x(v), bottom + 16, percent(v), v < 1 ? "middle" : "end")),
      element("svg:path", { class: "rf-gone", d: `M${gone} ${top}V${bottom}` }), line("start", first.r2), line("low rf-now", r2),
      ...(r2.some(v => v === v) ? [] : [svgText((left + right) / 2, y(0.5), "no two images differ any more", "middle")]));
    const half = r2[Math.ceil(p / 2) - 1];
    plot.setAttribute("aria-label", `R² of the first features with all, low to high PoZ: half of them have ${shortly(half, 2)}.`);
  }
}

export default { render };
