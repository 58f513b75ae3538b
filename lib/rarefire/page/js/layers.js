// A network layer by layer; rarefire.page.layers says what it shows and what travels in the page.

const FRAME = { left: 26, top: 8, width: 196, height: 126, bottom: 8 + 126 };
const WIDE = 230, TALL = 170; // of the drawings
const LOW = 0, MEDIAN = 1, HIGH = 2;
const STATES = [{ at: 0, name: "untrained", kind: "random" }, { at: 1, name: "trained", kind: "low" }];
const STEPS = 160, UNMEASURED = 255; // of bits

// --- one network: numbers by state, layer and number of images; units ---

class Network {
  constructor(given) {
    Object.assign(this, given);
    for (const name of ["two_nn", "se"]) this[name] = numbers(given[name], Float32Array);
    this.states = STATES.filter(({ at }) => this.n[at]);
    if (!this.asked.length) return;
    for (const name of ["of", "channel"]) this[name] = numbers(given[name], Uint16Array);
    this.rates = numbers(given.rates, Float32Array);
    this.bits = numbers(given.bits, Uint8Array);
  }

  place(state, layer, scale) {
    return (state * this.layers.length + layer) * this.points.length + scale;
  }

  // [lowest, median, highest] over networks.
  three(state, layer, scale = 0) {
    const place = this.place(state, layer, scale);
    return this.two_nn.subarray(3 * place, 3 * place + 3);
  }

  error(state, layer, scale) {
    return this.se[this.place(state, layer, scale)];
  }

  // The most that a plot of dimension shows, in any layer.
  get most() {
    const tops = [...this.se].map((se, place) => this.two_nn[3 * place + MEDIAN] + se);
    return Math.max(...[...this.two_nn, ...tops].filter(v => v === v));
  }

  // { channel, poz: [2], bits: [2] } of each unit of a layer; bits are NaN where they are not measured.
  units(layer, what) {
    const n = this.of?.length ?? 0, p = this.asked.indexOf(what), found = [];
    const bits = (state, u) => {
      const steps = this.bits[(state * this.asked.length + p) * n + u];
      return steps === UNMEASURED ? NaN : steps / STEPS;
    };
    for (let u = 0; u < n; u++)
      if (this.of[u] === this.inside[layer])
        found.push({ channel: this.channel[u], poz: [this.rates[u], this.rates[n + u]], bits: [bits(0, u), bits(1, u)] });
    return found;
  }

  // Why no units are shown; empty where they are.
  nothing(layer, what) {
    if (!this.asked.length) return "network";
    if (this.inside[layer] < 0) return "layer";
    return this.units(layer, what).some(({ bits }) => bits.some(v => v !== v)) ? "property" : "";
  }
}

const median = values => {
  const sort = [...values].sort((a, b) => a - b), n = sort.length;
  return (sort[(n - 1) >> 1] + sort[n >> 1]) / 2;
};

// --- drawings ---

class Plot {
  constructor(kind) {
    this.title = element("b");
    this.svg = element("svg:svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", class: `rf-curve rf-${kind}` });
    this.still = element("svg:g");
    this.moving = element("svg:g");
    this.svg.append(this.still, this.moving);
    this.box = element("div", {}, this.title, this.svg);
  }

  x(along) {
    return FRAME.left + along * FRAME.width;
  }

  y(value) {
    return FRAME.bottom - (value / this.most) * FRAME.height;
  }

  // What stays while the slider moves. `labels`: [along, text, anchor] of the horizontal axis, `under` its name.
  axes(title, most, labels, under) {
    const { left, width, bottom } = FRAME, { values, digits } = fromZero(most);
    this.most = values.at(-1);
    this.title.textContent = title;
    this.still.replaceChildren(
      ...values.flatMap(value => [
        element("svg:path", { class: "rf-grid", d: `M${left} ${this.y(value)}h${width}` }),
        svgText(left - 5, this.y(value) + 3.5, value.toFixed(digits), "end")]),
      ...labels.flatMap(([along, text, anchor]) => [
        element("svg:path", { class: "rf-axis", d: `M${this.x(along)} ${bottom}v4` }),
        ...(text ? [svgText(this.x(along), bottom + 15, text, anchor ?? "middle")] : [])]),
      svgText(left + width / 2, bottom + 31, under, "middle"));
  }

  show(description, ...moving) {
    this.svg.setAttribute("aria-label", description);
    this.moving.replaceChildren(...moving);
  }

  // A line through [along, value][], where there are values.
  line(points, attributes) {
    const known = points.filter(([, value]) => value === value);
    const d = known.map(([along, value]) => `${this.x(along).toFixed(1)} ${this.y(value).toFixed(1)}`).join("L");
    return element("svg:path", { ...attributes, d: d && `M${d}${attributes.closed ? "Z" : ""}`, closed: false });
  }

  dot(along, value, attributes) {
    return value === value ? [element("svg:circle", { cx: this.x(along), cy: this.y(value), ...attributes })] : [];
  }
}

// Dimension through the layers, to be dragged along.
class Through extends Plot {
  constructor(moved) {
    super("through");
    dragged(this.svg, along => {
      const share = Math.min(1, Math.max(0, (along * WIDE - FRAME.left) / FRAME.width));
      moved(Math.round(share * (this.network.layers.length - 1)));
    });
  }

  along(layer) {
    return layer / Math.max(1, this.network.layers.length - 1);
  }

  outline(s) {
    this.network = s;
    const last = s.layers.length - 1;
    const labels = s.layers.map((name, layer) =>
      (layer === 0 ? [0, name, "start"] : layer === last ? [1, name, "end"] : [this.along(layer)]));
    this.axes("TwoNN by layer", s.most, labels, "layers");
    this.still.append(...s.states.flatMap(state => this.curve(s, state)));
  }

  curve(s, { at, kind }) {
    const points = which => s.layers.map((_, layer) => [this.along(layer), s.three(at, layer)[which]]);
    return [
      this.line([...points(LOW), ...points(HIGH).reverse()], { class: `rf-around rf-${kind}`, closed: true }),
      this.line(points(MEDIAN), { class: `rf-line rf-${kind}` }),
      ...points(MEDIAN).flatMap(([along, value]) => this.dot(along, value, { r: 1.7, class: `rf-place rf-${kind}` }))];
  }

  draw(s, layer, text) {
    const along = this.along(layer), { top, bottom } = FRAME;
    this.show(`TwoNN by layer of ${s.title}. ${text}`,
      element("svg:path", { class: "rf-cut", d: `M${this.x(along)} ${top}V${bottom}` }),
      ...s.states.flatMap(({ at, kind }) => this.dot(along, s.three(at, layer)[MEDIAN], { r: 4, class: `rf-dot rf-${kind}` })));
  }
}

// Dimension of one layer by the number of images.
class Scale extends Plot {
  constructor() {
    super("scale");
  }

  // Between the margins, on a logarithmic scale.
  along(s, scale) {
    const [few, many] = [s.points.at(-1), s.points[0]];
    return few < many ? 0.06 + (0.86 * Math.log(s.points[scale] / few)) / Math.log(many / few) : 0.5;
  }

  outline(s) {
    const every = s.points.length > 5 ? 2 : 1;
    const labels = s.points.map((n, scale) => [this.along(s, scale), scale % every ? "" : n.toLocaleString("en")]);
    this.axes("TwoNN by images", s.most, labels, "number of images");
  }

  draw(s, layer, text) {
    this.show(`TwoNN of ${s.layers[layer]} by number of images, trained and untrained. ${text}`,
      ...s.states.flatMap(({ at, kind }) => {
        const aside = ((at ? -1 : 1) * 1.5) / FRAME.width; // errors of both are seen
        const points = s.points.map((_, scale) => [this.along(s, scale) + aside, s.three(at, layer, scale)[MEDIAN]]);
        return [
          this.line(points, { class: `rf-line rf-${kind}` }),
          ...points.flatMap(([along, value], scale) => {
            const error = s.error(at, layer, scale);
            return [
              ...(value === value && error === error ? [element("svg:path", { class: `rf-error rf-${kind}`,
                d: `M${this.x(along)} ${this.y(value - error)}V${this.y(value + error)}` })] : []),
              ...this.dot(along, value, scale ? { r: 2.2, class: `rf-place rf-${kind}` } : { r: 4, class: `rf-dot rf-${kind}` })];
          })];
      }));
  }
}

// Information of single units against their PoZ.
class Units extends Plot {
  constructor(words) {
    super("units");
    this.words = words;
    this.said = element("p");
    this.space = element("div", { class: "rf-space" }, this.svg, this.said);
    this.box.append(this.space);
  }

  outline(s, what) {
    const steps = s.layers.flatMap((_, layer) => s.units(layer, what).flatMap(({ bits }) => bits)).filter(v => v === v);
    const { left, top, width, height } = FRAME;
    const labels = [0, 0.5, 1].map(share => [share, percent(share), share === 1 ? "end" : "middle"]);
    this.axes(s.asked.length ? `Bits about ${this.words.properties[what]}` : "Single units", Math.max(0.1, ...steps), labels, "PoZ of single units");
    // The entropy of three responses, two of which are equally frequent: h(p) + 1 - p.
    const h = p => (p > 0 ? -p * Math.log2(p) : 0);
    const bound = Array.from({ length: 101 }, (_, i) => [i / 100, h(i / 100) + h(1 - i / 100) + 1 - i / 100]);
    const d = bound.map(([p, bits]) => `${(p * width).toFixed(1)} ${(height - (bits / this.most) * height).toFixed(1)}`);
    this.still.append(element("svg:svg", { x: left, y: top, width, height, overflow: "hidden" }, element("svg:path", { class: "rf-most", d: `M${d.join("L")}` })));
  }

  draw(s, layer, what, nothing, text) {
    this.svg.classList.toggle("rf-away", nothing !== "");
    this.said.textContent = nothing;
    if (nothing) return;
    const units = s.units(layer, what), about = this.words.properties[what];
    this.show(`Bits about ${about} that single units know, against their PoZ, trained and untrained. ${text}`,
      ...STATES.flatMap(({ at, name, kind }) => units.map(({ channel, poz, bits }) =>
        element("svg:circle", { class: `rf-unit rf-${kind}`, r: 2.7, cx: this.x(poz[at]), cy: this.y(bits[at]) },
          element("svg:title", {}, `unit ${channel}, ${name}: ${bits[at].toFixed(2)} bits, PoZ ${percent(poz[at])}`)))));
  }
}

// --- the whole ---

function render({ model, el }) {
  const words = model.get("words_of"), networks = model.get("networks").map(given => new Network(given));

  // What the traits say, within what the network has.
  const now = () => {
    const s = networks.find(({ name }) => name === model.get("network")), what = model.get("what");
    return { s, layer: Math.min(model.get("layer"), s.layers.length - 1), what: s.asked.includes(what) || !s.asked.length ? what : s.asked[0] };
  };
  // Another network is shown at about the same depth.
  const go = to => {
    const { s, layer } = now(), last = to.layers.length - 1;
    set(model, { network: to.name, layer: Math.round((layer / Math.max(1, s.layers.length - 1)) * last) });
  };

  const network = menu("Network", chosen => go(networks[chosen]));
  const what = menu("What units know about", chosen => set(model, { what: now().s.asked[chosen] }));
  const layer = slider("Layer", { min: 0, input: () => set(model, { layer: layer.input.valueAsNumber }) });
  const said = element("p", { class: "rf-result", role: "status", "aria-live": "polite" }), room = element("div", { class: "rf-room" });
  const through = new Through(chosen => set(model, { layer: chosen })), scale = new Scale(), units = new Units(words);
  const key = element("ul", { class: "rf-lines" });
  const foot = element("span"), single = download(`${model.get("name")}-units`, unitTable, "Units (CSV)");
  const root = element("div", { class: "rf-layers", role: "group", "aria-label": "Layer by layer" },
    element("div", { class: "rf-controls" }, network.box, what.box), layer.box, room,
    element("div", { class: "rf-three" }, through.box, scale.box, units.box), key,
    element("p", { class: "rf-foot" }, foot, " ", download(`${model.get("name")}-dimensions`, table), " ", single));

  let drawn = "";

  function draw() {
    const state = now(), { s, layer: at } = state;
    const still = JSON.stringify([s.name, state.what]);
    if (drawn !== (drawn = still)) outline(state);
    layer.input.value = at;
    layer.value.textContent = `${s.layers[at]} (${at + 1} of ${s.layers.length})`;
    layer.input.setAttribute("aria-valuetext", `${s.layers[at]}, ${at + 1} of ${s.layers.length}`);
    const nothing = why(state), text = sentence(state);
    if (said.textContent !== text) said.textContent = text;
    through.draw(s, at, text);
    scale.draw(s, at, text);
    units.draw(s, at, state.what, nothing, text);
  }

  // What stays while the slider moves.
  function outline({ s, what: asked }) {
    network.show(networks.map(({ title }) => title), networks.indexOf(s));
    what.show(s.asked.map(name => words.properties[name]), s.asked.indexOf(asked));
    layer.input.max = s.layers.length - 1;
    through.outline(s);
    scale.outline(s);
    units.outline(s, asked);
    single.hidden = !s.asked.length;
    // As high as the longest that can be said: what is below it stays where it is.
    const every = s.layers.map((_, at) => sentence({ s, layer: at, what: asked }));
    room.replaceChildren(said, ...every.map(text => element("p", { class: "rf-away", "aria-hidden": "true" }, text)));
    const entry = (kind, text) => element("li", {}, element("i", { class: `rf-${kind}` }), text);
    key.replaceChildren(...[...s.states].reverse().map(({ name, kind }) => entry(kind, name)),
      ...(s.asked.length ? [entry("most", "all that a unit with this PoZ can tell")] : []));
    const counted = [...s.states].reverse().map(({ at, name }) => `${s.n[at]} ${name}`).join(" and ");
    foot.textContent = `Lines are medians over ${counted} network${s.n[0] + s.n[1] > 1 ? "s" : ""}, shades reach from the lowest to the highest, bars are ± one standard error.`
      + (s.asked.length ? ` Units are those of the first network, at most ${words.most} of a layer.` : "");
  }

  function why({ s, layer: at, what: asked }) {
    const nothing = s.nothing(at, asked);
    const of = { network: s.title, layer: s.layers[at], what: words.properties[asked] };
    return nothing && words.nothing[nothing].replace(/{(\w+)}/g, (_, name) => of[name]);
  }

  // As LayerMap.words.
  function sentence({ s, layer: at, what: asked }) {
    const value = v => (v === v ? v.toFixed(1) : "undefined"), images = n => `${n.toLocaleString("en")} images`;
    const two = scale => [1, 0].map(state => value(s.three(state, at, scale)[MEDIAN]));
    const [trained, untrained] = two(0), both = s.n[0] > 0;
    let text = `${s.layers[at]} (${at + 1} of ${s.layers.length}): ${trained} dimensions`
      + `${both ? ` trained, ${untrained} untrained` : ""} (${images(s.points[0])})`;
    if (s.points.length > 1) text += `; with ${images(s.points[1])}, ${two(1).slice(0, both ? 2 : 1).join(" and ")}`;
    return `${text}. ${why({ s, layer: at, what: asked }) || ofUnits(s, at, asked)}`;
  }

  function ofUnits(s, at, asked) {
    const found = s.units(at, asked), own = s.own[s.inside[at]];
    const [bits, poz] = ["bits", "poz"].map(name => [0, 1].map(state => median(found.map(unit => unit[name][state]))));
    return `The median of ${found.length} units${own === s.layers[at] ? "" : ` of ${own}`} knows ${bits[1].toFixed(2)} bits about `
      + `${words.properties[asked]} trained, ${bits[0].toFixed(2)} untrained; PoZ ${percent(poz[1])} against ${percent(poz[0])}.`;
  }

  function table() {
    const { s } = now();
    return [...s.states].reverse().flatMap(({ at, name }) => s.layers.flatMap((own, place) => s.points.map((images, scale) => {
      const [low, middle, high] = s.three(at, place, scale);
      return { state: name, layer: own, images, two_nn_low: low, two_nn: middle, two_nn_high: high, se: s.error(at, place, scale) };
    })));
  }

  function unitTable() {
    const { s, what: asked } = now();
    return [...STATES].reverse().flatMap(({ at, name }) => s.layers.flatMap((own, place) => s.units(place, asked).map(
      ({ channel, poz, bits }) => ({ state: name, layer: own, channel, property: asked, poz: poz[at], bits: bits[at] }))));
  }

  return mount({ model, el }, root, ["network", "layer", "what"], draw);
}

export default { render };
