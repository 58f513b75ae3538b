// Pruning compared; rarefire.page.prunings says what it shows and what travels in the page.

const FRAME = { left: 34, top: 8, width: 258, height: 128, bottom: 8 + 128 };
const LOW = 0, MEDIAN = 1, HIGH = 2, UNDEFINED = 255;

// --- one image set: numbers by network, layer and measure ---

class Compared {
  constructor(given, measures) {
    Object.assign(this, given, { measures });
    for (const name of ["share", "alike", "accuracy", "chance"]) this[name] = numbers(given[name], Float32Array);
    for (const name of ["counts", "gone", "dead"]) this[name] = numbers(given[name], Uint16Array);
    this.bands = Object.entries(given.bands).map(([name, alike]) => ({ name, alike: numbers(alike, Float32Array) }));
    if (!this.shown) return;
    this.row = new Map(given.reached.map((network, row) => [network, row]));
    this.r2 = numbers(given.r2, Float32Array);
    this.rdm = numbers(given.rdm, Uint8Array);
  }

  // [lowest, median, highest] over instances.
  similarity(network, layer, measure) {
    return this.three(this.alike, (network * this.layers.length + layer) * this.measures + measure);
  }

  three(values, place) {
    return values.subarray(3 * place, 3 * place + 3);
  }

  // Correlation distances (n, n) of the first instance.
  square(network, layer) {
    const n = this.shown, out = new Float64Array(n * n);
    let c = ((this.row.get(network) * this.layers.length + layer) * n * (n - 1)) / 2;
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) {
        const v = this.rdm[c++];
        out[i * n + j] = out[j * n + i] = v === UNDEFINED ? NaN : v / 127;
      }
    return out;
  }

  histogram(network, layer) {
    const place = network * this.layers.length + layer;
    return {
      counts: this.counts.subarray(place * this.bins, (place + 1) * this.bins),
      gone: this.gone[place], dead: this.dead[place],
    };
  }
}

// --- lines against the share of weights left ---

// Of an axis from `low` to `high`: at most six, at round numbers.
function ticks(low, high) {
  const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25].find(by => Math.ceil(high / by - 1e-6) - Math.floor(low / by + 1e-6) <= 5) ?? 0.5;
  const first = Math.floor(low / step + 1e-6), last = Math.max(first + 1, Math.ceil(high / step - 1e-6));
  return { step, values: Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step) };
}

class SharePlot {
  // `form` writes a value of an axis with this step; `moved` is called with a share of weights that is pointed at.
  constructor(form, moved) {
    this.form = form;
    this.title = element("b");
    this.svg = element("svg:svg", { viewBox: "0 0 300 174", role: "img", class: "rf-curve" });
    this.still = element("svg:g");
    this.line = element("svg:path", { class: "rf-cut" });
    this.dot = element("svg:circle", { r: 4.5 });
    this.svg.append(this.still, this.line, this.dot);
    this.box = element("div", {}, this.title, this.svg);
    dragged(this.svg, along => moved(this.least ** Math.min(1, Math.max(0, (along * 300 - FRAME.left) / FRAME.width))));
  }

  x(share) {
    return FRAME.left + (Math.log(share) / Math.log(this.least)) * FRAME.width;
  }

  y(value) {
    const { low, high } = this;
    return FRAME.bottom - ((value - low) / (high - low)) * FRAME.height;
  }

  // `lines`: { points: [share, three][], now, colour } with the one in use last; `bands`: { name, values, colour }; `chance`: a
  // value or NaN; `least`: share at the right end; `everything`: values that the axis shows.
  draw(title, lines, bands, chance, least, everything) {
    const known = everything.filter(v => v === v), { step, values } = ticks(Math.min(1, ...known), Math.max(0, ...known));
    Object.assign(this, { least, low: values[0], high: values.at(-1) });
    this.title.textContent = title;
    this.still.replaceChildren(...this.axes(values, step), ...bands.map(band => this.band(band)), ...this.chance(chance), ...lines.map(line => this.curve(line)));
  }

  axes(values, step) {
    const { left, width, bottom } = FRAME;
    return [
      ...values.flatMap(value => {
        const y = this.y(value);
        return [element("svg:path", { class: "rf-grid", d: `M${left} ${y}h${width}` }), svgText(left - 5, y + 3.5, this.form(value, step), "end")];
      }),
      ...[1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01].filter(share => share >= this.least * 0.999).flatMap(share => {
        const x = this.x(share);
        return [element("svg:path", { class: "rf-axis", d: `M${x} ${bottom}v4` }), svgText(x, bottom + 16, percent(share), "middle")];
      }),
      svgText(left + width / 2, bottom + 33, "weights left", "middle"),
    ];
  }

  band({ name, values, colour }) {
    const { left, width } = FRAME, [low, middle, high] = [...values].map(v => this.y(v));
    if (middle !== middle) return element("svg:g");
    return element("svg:g", { class: `rf-band rf-${name}`, style: `--own:${colour}` },
      element("svg:rect", { x: left, width, y: high, height: Math.max(1, low - high) }),
      element("svg:path", { d: `M${left} ${middle}h${width}` }));
  }

  chance(value) {
    return value === value ? [element("svg:path", { class: "rf-chance", d: `M${FRAME.left} ${this.y(value)}h${FRAME.width}` })] : [];
  }

  curve({ points, now, colour }) {
    const known = points.filter(([, three]) => three[MEDIAN] === three[MEDIAN]);
    const along = (some, which) => some.map(([share, three]) => `${this.x(share).toFixed(1)} ${this.y(three[which]).toFixed(1)}`).join("L");
    if (!known.length) return element("svg:g");
    const line = element("svg:path", { class: `rf-line${now ? " rf-now" : ""}`, style: `--own:${colour}`, d: `M${along(known, MEDIAN)}` });
    if (!now) return line;
    const around = element("svg:path", { class: "rf-around", d: `M${along(known, LOW)}L${along([...known].reverse(), HIGH)}Z` });
    const places = known.map(([share, three]) => element("svg:circle", { class: "rf-place", r: 2.2, cx: this.x(share), cy: this.y(three[MEDIAN]) }));
    return element("svg:g", {}, around, line, ...places);
  }

  move(share, value, description) {
    const x = this.x(share);
    this.line.setAttribute("d", `M${x} ${FRAME.top}V${FRAME.bottom}`);
    this.dot.setAttribute("class", value === value ? "rf-dot" : "rf-none");
    this.dot.setAttribute("cx", x);
    this.dot.setAttribute("cy", value === value ? this.y(value) : FRAME.bottom);
    this.svg.setAttribute("aria-label", description);
  }
}

// --- two RDMs ---

class Pair {
  constructor(colours) {
    this.colours = colours;
    this.panels = [0, 1].map(() => {
      const canvas = element("canvas", { role: "img" }), title = element("b");
      return { canvas, title, box: element("div", { class: "rf-heat rf-matrix" }, title, element("div", {}, canvas)) };
    });
    this.title = element("b");
    this.said = element("span");
    this.most = element("span");
    const key = element("div", { class: "rf-bar" }, "alike 0", element("i", { style: gradient(colours) }), this.most);
    this.box = element("div", {}, this.title, element("div", { class: "rf-two" }, ...this.panels.map(panel => panel.box)),
      element("div", { class: "rf-under" }, this.said, key));
  }

  draw(s, at, layer, title) {
    this.box.hidden = !s.shown;
    if (!s.shown) return;
    const name = s.layers[layer], dense = s.square(s.dense, layer), now = s.square(at, layer);
    const most = Math.max(0.1, Math.ceil(10 * dense.reduce((a, b) => Math.max(a, b === b ? b : 0), 0) - 1e-6) / 10);
    this.title.textContent = `${name}: RDMs of ${s.shown} images, by class`;
    this.paint(this.panels[0], dense, most, "dense", `Dissimilarities of ${s.shown} images in ${name} of the dense network.`);
    this.paint(this.panels[1], now, most, title, `The same with ${title}.`);
    const r2 = s.r2[s.row.get(at) * s.layers.length + layer];
    this.said.textContent = `R² ${r2 === r2 ? shortly(r2) : "undefined"} between them`;
    this.said.dataset.r2 = r2;
    this.most.textContent = `≥ ${most.toFixed(1)} unlike`;
  }

  paint({ canvas, title }, values, most, name, description) {
    const n = Math.sqrt(values.length);
    if (canvas.width !== n) canvas.width = canvas.height = n;
    title.textContent = name;
    canvas.setAttribute("aria-label", description);
    paintMatrix(canvas.getContext("2d"), values, [0, most], this.colours);
  }
}

// --- how often units fire ---

const BARS = { left: 34, top: 8, width: 258, height: 96, bottom: 8 + 96 };

class Rates {
  constructor() {
    this.title = element("b");
    this.svg = element("svg:svg", { viewBox: "0 0 300 142", role: "img", class: "rf-curve rf-rates" });
    this.said = element("p");
    this.box = element("div", {}, this.title, this.svg, this.said);
  }

  // `steps`: the networks that the slider reaches.
  draw(s, at, layer, of, steps) {
    const { left, width, height, bottom } = BARS, units = s.units[layer];
    this.title.textContent = units ? `APoZ of ${of} units` : "APoZ";
    if (!units) {
      const text = "Outputs are not rectified: they have no APoZ.";
      this.svg.replaceChildren(svgText(left + width / 2, bottom - height / 2, text, "middle"));
      this.svg.setAttribute("aria-label", text);
      this.said.textContent = "";
      return;
    }
    const dense = s.histogram(s.dense, layer), now = s.histogram(at, layer), wide = width / s.bins;
    const most = Math.max(1, ...steps.flatMap(network => [...s.histogram(network, layer).counts]));
    const tall = count => (count / most) * height;
    const outline = [...dense.counts].map((count, i) => `L${left + i * wide} ${bottom - tall(count)}h${wide}`).join("");
    const bars = [...now.counts].map((count, i) => count && element("svg:rect", {
      class: "rf-units", x: left + i * wide + 0.8, width: wide - 1.6, y: bottom - tall(count), height: tall(count) })).filter(Boolean);
    this.svg.replaceChildren(
      ...[0, most].flatMap(count => [
        element("svg:path", { class: "rf-grid", d: `M${left} ${bottom - tall(count)}h${width}` }), svgText(left - 5, bottom - tall(count) + 3.5, String(count), "end")]),
      ...bars, element("svg:path", { class: "rf-outline", d: `M${left} ${bottom}${outline}V${bottom}` }),
      ...[0, 0.5, 1].map(share => svgText(left + share * width, bottom + 15, percent(share), share === 1 ? "end" : share ? "middle" : "start")),
      svgText(left + width / 2, bottom + 31, "how often a unit is silent", "middle"));
    const dead = now.dead ? `; ${now.dead} ${now.gone ? "more " : ""}never fire${now.dead === 1 ? "s" : ""}` : "";
    const text = `${now.gone} of ${units} units gone${dead}.`;
    this.said.textContent = `Bars: now; outline: dense. ${text}`;
    this.svg.setAttribute("aria-label", `Histogram of APoZ of ${of} units, now in bars and dense as an outline. ${text}`);
  }
}

// --- the whole ---

function render({ model, el }) {
  const words = model.get("words_of"), { layers, measures } = words.order;
  const sets = Object.fromEntries(model.get("sets").map(given => [given.name, new Compared(given, measures.length)]));
  const names = Object.keys(sets), methodsOf = s => words.order.methods.filter(key => s.steps[key]);

  // What the traits say, within what the image set has.
  const now = () => {
    const s = sets[model.get("images")], method = s.steps[model.get("method")] ? model.get("method") : methodsOf(s)[0];
    const steps = s.steps[method], step = Math.min(model.get("step"), steps.length - 1);
    return { s, method, steps, step, at: steps[step], layer: layers.indexOf(model.get("layer")), measure: measures.indexOf(model.get("measure")) };
  };
  // The step of a method that leaves about as many weights.
  const nearest = (s, method, share) => {
    const far = s.steps[method].map(network => Math.abs(Math.log(s.share[network] / share)));
    return far.indexOf(Math.min(...far));
  };
  const go = changes => {
    const { s, at } = now(), images = changes.images ?? model.get("images"), there = sets[images];
    const wanted = changes.method ?? model.get("method"), method = there.steps[wanted] ? wanted : methodsOf(there)[0];
    set(model, { ...changes, step: nearest(there, method, s.share[at]) });
  };
  const moved = share => {
    const { s, method } = now();
    set(model, { step: nearest(s, method, share) });
  };

  const images = menu("Images", chosen => go({ images: names[chosen] }));
  const methods = menu("Pruned by", chosen => go({ method: methodsOf(now().s)[chosen] }));
  const same = keys => Object.fromEntries(keys.map(key => [key, key]));
  const layer = choice("Layer", same(layers), value => set(model, { layer: value }));
  const measure = choice("Similarity", Object.fromEntries(measures.map(key => [key, words.measures[key]])), value => set(model, { measure: value }));
  const left = slider("Weights left", { min: 0, input: () => set(model, { step: left.input.valueAsNumber }) });
  const said = element("p", { class: "rf-result", role: "status", "aria-live": "polite" });
  const alike = new SharePlot((value, step) => value.toFixed(step < 0.01 ? 3 : 2), moved);
  const right = new SharePlot((value, step) => percent(value, step < 0.01 ? 1 : 0), moved);
  const key = element("ul", { class: "rf-lines" });
  const pair = new Pair(numbers(model.get("colours"), Uint8Array)), rates = new Rates();
  const foot = element("span");
  const root = element("div", { class: "rf-prunings", role: "group", "aria-label": "Pruning compared" },
    element("div", { class: "rf-controls" }, images.box, methods.box, layer.box, measure.box), left.box, said,
    element("div", { class: "rf-side" }, alike.box, right.box), key,
    element("div", { class: "rf-side" }, pair.box, rates.box),
    element("p", { class: "rf-foot" }, foot, " ", download(`${model.get("name")}-networks`, table)));

  let drawn = "";

  function draw() {
    const state = now(), { s, method, steps, step, at } = state, left_ = percentLeft(s.share[at]);
    const still = JSON.stringify([s.name, method, state.layer, state.measure]);
    if (drawn !== (drawn = still)) outline(state);
    left.input.value = step;
    left.value.textContent = left_;
    left.input.setAttribute("aria-valuetext", `${left_} of the weights left, ${step ? `round ${s.number[at]}` : "not pruned"}`);
    const text = sentence(state);
    if (said.textContent !== text) said.textContent = text;
    alike.move(s.share[at], similar(state)[MEDIAN], `${alike.title.textContent}, against the share of weights left, ${words.methods[method]}. ${text}`);
    right.move(s.share[at], s.three(s.accuracy, at)[MEDIAN], `${right.title.textContent}, against the share of weights left, ${words.methods[method]}. ${text}`);
    pair.draw(s, at, state.layer, step ? `${left_} left` : "not pruned");
    rates.draw(s, at, state.layer, words.layers[layers[state.layer]], steps);
  }

  // What stays while the slider moves.
  function outline({ s, method, steps, layer: l, measure: m }) {
    images.show(names.map(name => sets[name].title), names.indexOf(s.name));
    methods.show(methodsOf(s).map(key => words.methods[key]), methodsOf(s).indexOf(method));
    layer.show(layers[l]);
    measure.show(measures[m]);
    left.input.max = steps.length - 1;
    const every = methodsOf(s).map(key => [key, s.steps[key]]), least = Math.min(0.1, ...every.flatMap(([, networks]) => networks.map(network => s.share[network])));
    const order = [...every.filter(([name]) => name !== method), [method, steps]];
    const plot = (where, title, three, bands, chance, floor) => {
      const lines = order.map(([name, networks]) => ({ now: name === method, colour: words.colours[name], points: networks.map(network => [s.share[network], three(network)]) }));
      const everything = [...floor, chance, ...bands.flatMap(band => [...band.values]),
        ...lines.flatMap(line => line.points.flatMap(([, values]) => (line.now ? [...values] : [values[MEDIAN]])))];
      where.draw(title, lines, bands, chance, least, everything);
    };
    const chance = measures[m] === "cca" ? s.three(s.chance, l)[MEDIAN] : NaN;
    plot(alike, `${layers[l]}: ${words.short[measures[m]]} with the dense network`, network => s.similarity(network, l, m),
      s.bands.map(band => ({ name: band.name, colour: words.colours[band.name], values: s.three(band.alike, l * measures.length + m) })), chance, [1]);
    plot(right, "Accuracy on test images", network => s.three(s.accuracy, network), [{ name: "dense", colour: "var(--ink)", values: s.three(s.accuracy, s.dense) }], NaN, []);
    root.style.setProperty("--pruned", words.colours[method]);
    const entry = (kind, text, colour = "var(--ink)") => element("li", {}, element("i", { class: `rf-${kind}`, style: `--own:${colour}` }), text);
    key.replaceChildren(...every.map(([name]) => entry(name === method ? "chosen" : "other", words.methods[name], words.colours[name])),
      ...s.bands.map(({ name }) => entry(name, words.bands[name], words.colours[name])),
      ...(chance === chance ? [entry("chance", "chance (images permuted)")] : []), entry("dense", "dense (accuracy)"));
    foot.textContent = `Lines are medians over ${s.instances} networks, bands reach from the lowest to the highest. `
      + `${s.shown ? "RDMs and units" : "Units"} are those of the first network.`;
  }

  const similar = ({ s, at, layer, measure }) => s.similarity(at, layer, measure);

  // As PruningMap.words.
  function sentence(state) {
    const { s, at, layer: l, measure: m } = state, value = v => (v === v ? shortly(v) : "undefined");
    const beside = s.bands.map(({ name, alike }) =>
      `${words.beside[name]}: ${value(s.three(alike, l * measures.length + m)[MEDIAN])}`);
    if (measures[m] === "cca") beside.push(`chance: ${value(s.three(s.chance, l)[MEDIAN])}`);
    const [right, dense] = [at, s.dense].map(network => percent(s.three(s.accuracy, network)[MEDIAN], 1));
    return `${percentLeft(s.share[at])} of the weights left: ${words.layers[layers[l]]} ${words.says[measures[m]]} ${value(similar(state)[MEDIAN])}`
      + `${beside.length ? ` (${beside.join("; ")})` : ""}; accuracy ${right} (dense ${dense}).`;
  }

  function table() {
    const { s, layer: l, measure: m } = now();
    return s.method.map((method, network) => {
      const [low, middle, high] = s.similarity(network, l, m), [least, accuracy, most] = s.three(s.accuracy, network);
      return { method, round: s.number[network], share: s.share[network], layer: layers[l], measure: measures[m],
        similarity: middle, similarity_low: low, similarity_high: high, accuracy, accuracy_low: least, accuracy_high: most };
    });
  }

  return mount({ model, el }, root, ["images", "method", "layer", "measure", "step"], draw);
}

const percentLeft = share => percent(share, share < 0.1 ? 1 : 0);

export default { render };
