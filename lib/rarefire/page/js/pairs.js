// Every two layers of a network; rarefire.page.pairs says what it shows and what travels in the page.

const BOUNDS = ["slb", "lower", "upper", "identity", "chance"];
const half = cost => Math.sqrt(cost) / 2; // a distance, of a cost
const FORMS = { relative: share => percent(share, share > 0 && share < 0.1 ? 1 : 0), distance: v => v.toFixed(3), gap: v => v.toFixed(4) };

// --- one network: layers, their pairs, and images by class ---

class Network {
  constructor(given) {
    Object.assign(this, given);
    for (const name of ["space", "partner"]) this[name] = numbers(given[name], Uint8Array);
    for (const name of ["most", "bounds"]) this[name] = numbers(given[name], Float32Array);
    this.group = numbers(given.group, Uint16Array);
    this.n = this.group.length;
    this.last = this.layers.length - 1;
    this.pairs = (this.layers.length * this.last) / 2;
    // Runs of images of one class: [first, how many].
    const starts = [...this.group.keys()].filter(i => !i || this.group[i] !== this.group[i - 1]);
    this.runs = starts.map((start, g) => [start, (starts[g + 1] ?? this.n) - start]);
  }

  // The earlier layer and the later one; where there are fewer layers, the last.
  pair(first, second) {
    const [low, high] = first < second ? [first, second] : [second, first];
    return [Math.min(low, this.last - 1), Math.min(high, this.last)];
  }

  place(first, second) {
    return first * this.layers.length - (first * (first + 1)) / 2 + second - first - 1;
  }

  of(first, second) {
    const place = this.place(...this.pair(first, second)), found = {};
    BOUNDS.forEach((name, row) => { found[name] = this.bounds[row * this.pairs + place]; });
    return {
      ...found, distance: half(found.upper), relative: found.chance > 0 ? found.upper / found.chance : NaN, gap: found.identity - found.upper,
    };
  }

  // To which image each goes.
  partners(first, second) {
    const start = this.place(first, second) * this.n;
    return this.partner.subarray(start, start + this.n);
  }

  // Shares of the images that go to themselves, and to their class.
  stays(first, second) {
    const to = this.partners(first, second), share = holds => to.reduce((sum, j, i) => sum + holds(i, j), 0) / this.n;
    return [share((i, j) => i === j), share((i, j) => this.group[i] === this.group[j])];
  }

  // Distances (n, n) of a layer's images, in units of their mean.
  square(layer) {
    const { n } = this, out = new Float64Array(n * n), unit = this.most[layer] / 255;
    let c = (layer * n * (n - 1)) / 2;
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) out[i * n + j] = out[j * n + i] = unit * this.space[c++];
    return out;
  }

  // Every two layers, the earlier first.
  every() {
    return this.layers.flatMap((_, i) => this.layers.slice(i + 1).map((_, j) => [i, i + 1 + j]));
  }

  // [first, after the last] of each block.
  blocks(count) {
    const cuts = this.cuts[count - 1];
    return [0, ...cuts].map((start, block) => [start, cuts[block] ?? this.last + 1]);
  }
}

// --- the map, in which a pair is pointed at ---

const WIDE = 340, LETTER = 5.7; // of the drawings, and of a letter, about
const shortened = name => (name.length > 17 ? `…${name.slice(-16)}` : name);

class PairsMap {
  // `look` is called with a cell [row, column] (or null) that is pointed at, and whether it is to stay.
  constructor(colours, look) {
    this.colours = colours;
    this.title = element("b");
    this.svg = element("svg:svg", { class: "rf-square", tabindex: 0, role: "application", "aria-roledescription": "map", ...OWN_KEYS });
    this.still = element("svg:g");
    this.outlines = element("svg:g");
    this.marks = element("svg:g");
    this.svg.append(this.still, this.outlines, this.marks);
    this.high = element("span");
    this.said = element("p");
    this.box = element("div", { class: "rf-every" }, this.title, this.svg,
      element("div", { class: "rf-bar" }, "0", element("i", { style: gradient(colours) }), this.high), this.said);
    this.listen(look);
  }

  listen(look) {
    const { svg } = this;
    svg.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(this.under(event), false); });
    svg.addEventListener("pointerleave", () => look(null, false));
    svg.addEventListener("click", event => { look(this.under(event), true); });
    svg.addEventListener("keydown", event => {
      const to = this.go(event.key);
      if (!to) return;
      event.preventDefault();
      look(to, true);
    });
  }

  under(event) {
    const area = this.svg.getBoundingClientRect(), by = WIDE / area.width;
    const cell = [(event.clientY - area.top) * by - this.top, (event.clientX - area.left) * by - this.left].map(v => Math.floor(v / this.size));
    return this.holds(cell) ? cell : null;
  }

  holds([i, j]) {
    const { last } = this.network;
    return i !== j && Math.min(i, j) >= 0 && Math.max(i, j) <= last;
  }

  // Where a key leads: past the diagonal, where a layer would meet itself.
  go(key) {
    const [i, j] = this.cell, { last } = this.network;
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    if (by) return [1, 2].map(far => [i + far * by[0], j + far * by[1]]).find(to => this.holds(to)) ?? [i, j];
    return { Home: [i, i ? 0 : 1], End: [i, i < last ? last : last - 1], Enter: this.shown, " ": this.shown }[key];
  }

  x(column) {
    return this.left + column * this.size;
  }

  y(row) {
    return this.top + row * this.size;
  }

  // What stays while pairs are pointed at.
  outline(s, quantity, words) {
    const names = s.layers.map(shortened), n = names.length, long = LETTER * Math.max(...names.map(name => name.length)) + 6;
    this.network = s;
    this.top = 2;
    this.left = Math.max(28, long);
    this.size = (WIDE - this.left - 3) / n;
    const upright = this.size < 16, below = this.y(n), form = FORMS[quantity];
    this.svg.setAttribute("viewBox", `0 0 ${WIDE} ${Math.ceil(below + 14 + (upright ? 1 : 0.7) * long)}`);
    this.svg.setAttribute("class", `rf-square${n > 14 ? " rf-many" : ""}`);
    this.svg.setAttribute("aria-label", `Map of every two layers of ${s.title}: ${words.quantities[quantity]}. Arrow keys move from pair to pair.`);
    this.title.textContent = `Every two layers: ${words.quantities[quantity]}`;
    this.said.textContent = words.says[quantity];
    const values = s.layers.map((_, i) => s.layers.map((_, j) => (i === j ? 0 : s.of(i, j)[quantity])));
    const most = Math.max(...values.flat().filter(v => v === v));
    this.high.textContent = most > 0 ? form(most) : "everywhere";
    const colour = v => (v === v ? `rgb(${[...this.colours.subarray(3 * Math.round((255 * v) / (most || 1)), 3 * Math.round((255 * v) / (most || 1)) + 3)]})` : "none");
    const label = (at, x, y, turn) => element("svg:text", { x, y, "text-anchor": "end", transform: turn && `rotate(${turn} ${x} ${y})`, "data-layer": at }, names[at]);
    this.rows = names.map((_, at) => label(at, this.left - 5, this.y(at + 0.5) + 3.6));
    this.columns = names.map((_, at) => (upright
      ? label(at, this.x(at + 0.5) + 3.6, below + 6, -90) : label(at, this.x(at + 0.5) + 5, below + 10, -45)));
    const cells = values.flatMap((row, i) => row.map((v, j) => element("svg:rect", {
      x: this.x(j), y: this.y(i), width: this.size + 0.3, height: this.size + 0.3, fill: colour(v), "data-cell": `${i} ${j}`, "data-value": v })));
    this.still.replaceChildren(
      element("svg:g", { class: "rf-cells" }, ...cells), element("svg:rect", { class: "rf-rim", x: this.left, y: this.top, width: n * this.size, height: n * this.size }),
      element("svg:g", { class: "rf-names", "aria-hidden": "true" }, ...this.rows), element("svg:g", { class: "rf-names", "aria-hidden": "true" }, ...this.columns));
  }

  // Outlines of blocks, light in dark: seen on every colour of the map.
  cut(blocks) {
    const square = (kind, [start, end]) => element("svg:rect", {
      class: kind, x: this.x(start), y: this.y(start), width: (end - start) * this.size, height: (end - start) * this.size });
    this.outlines.replaceChildren(...["rf-casing", "rf-block"].flatMap(kind => blocks.map(block => square(kind, block))));
  }

  // `cell` is kept, `shown` is what is seen of now.
  mark(cell, shown) {
    Object.assign(this, { cell, shown });
    const ring = ([i, j], kind) => ["rf-casing", kind].map(name => element("svg:circle", {
      class: name, cx: this.x(j + 0.5), cy: this.y(i + 0.5), r: Math.max(5.5, 0.34 * this.size) }));
    const mirrored = [shown[1], shown[0]];
    this.marks.replaceChildren(...ring(mirrored, "rf-mirrored"), ...ring(shown, "rf-chosen"));
    for (const [labels, at] of [[this.rows, shown[0]], [this.columns, shown[1]]])
      labels.forEach((text, layer) => text.setAttribute("class", layer === at ? "rf-here" : ""));
  }
}

// --- the bracket of a pair, on the axis of all pairs ---

class BracketPlot {
  constructor() {
    this.svg = element("svg:svg", { viewBox: `0 0 ${WIDE} 66`, role: "img", class: "rf-bracket" });
    this.still = element("svg:g");
    this.moving = element("svg:g");
    this.svg.append(this.still, this.moving);
    const entry = (kind, text) => element("li", {}, element("i", { class: `rf-${kind}` }), text);
    this.box = element("div", {}, element("b", {}, "Their distance lies in the bar"), this.svg,
      element("ul", { class: "rf-lines" }, entry("between", "possible"), entry("possible", "weaker bound"), entry("found", "best match found"),
        entry("place", "all in place"), entry("random", "random match")));
  }

  x(distance) {
    return 8 + (distance / this.most) * (WIDE - 24);
  }

  outline(s) {
    const ends = s.every().map(pair => s.of(...pair)).map(({ identity, chance }) => half(Math.max(identity, chance)));
    const { values, digits } = fromZero(Math.max(...ends) || 1);
    this.most = values.at(-1);
    this.still.replaceChildren(
      element("svg:path", { class: "rf-axis", d: `M${this.x(0)} 36H${this.x(this.most)}` }),
      ...values.flatMap(value => [element("svg:path", { class: "rf-axis", d: `M${this.x(value)} 36v4` }), svgText(this.x(value), 50, value.toFixed(digits), "middle")]),
      svgText(WIDE / 2, 63, "distance (½GW); 1 is the mean distance between two images", "middle"));
  }

  draw(of, description) {
    const at = BOUNDS.map(name => this.x(half(of[name]))), [slb, lower, upper, identity, chance] = at, y = 19;
    this.svg.setAttribute("aria-label", description);
    this.moving.replaceChildren(
      element("svg:path", { class: "rf-random", d: `M${chance} 4V36` }),
      element("svg:path", { class: "rf-possible", d: `M${slb} ${y}H${lower}` }),
      element("svg:rect", { class: "rf-between", x: lower, y: y - 6, width: Math.max(1, upper - lower), height: 12 }),
      element("svg:path", { class: "rf-place", d: `M${identity - 9} ${y}l9 -9l9 9l-9 9z` }),
      element("svg:circle", { class: "rf-found", cx: upper, cy: y, r: 4.2 }));
  }
}

// --- which image goes where ---

const KINDS = { same: "to itself", kin: "to its class", away: "to another class" };

class Coupling {
  constructor() {
    this.svg = element("svg:svg", { viewBox: `0 0 ${WIDE} ${WIDE}`, role: "img", class: "rf-coupling" });
    this.still = element("svg:g");
    this.moving = element("svg:g");
    this.svg.append(this.still, this.moving);
    this.shares = Object.fromEntries(Object.keys(KINDS).map(kind => [kind, element("dd")]));
    const example = kind => element("svg:svg", { viewBox: "-6 -6 12 12", "aria-hidden": "true" }, this.sign(kind, 0, 0, 4));
    this.title = element("b");
    this.box = element("div", { class: "rf-match" }, this.title, this.svg,
      element("dl", {}, ...Object.entries(KINDS).map(([kind, text]) => element("div", {}, element("dt", {}, example(kind), text), this.shares[kind]))));
  }

  outline(s) {
    const names = s.runs.map(([start]) => shortened(s.groups[s.group[start]])), long = 1.5 * LETTER * Math.max(...names.map(name => name.length)) + 8;
    this.left = Math.max(20, long);
    this.size = (WIDE - this.left - 2) / s.n;
    const at = image => this.left + image * this.size, down = image => 2 + image * this.size, side = s.n * this.size;
    this.svg.setAttribute("viewBox", `0 0 ${WIDE} ${Math.ceil(side + 4)}`);
    this.still.replaceChildren(
      ...s.runs.map(([start, size]) => element("svg:rect", { class: "rf-class", x: at(start), y: down(start), width: size * this.size, height: size * this.size })),
      element("svg:path", { class: "rf-grid", d: [...s.runs, [s.n, 0]].map(([start]) => `M${at(0)} ${down(start)}h${side}M${at(start)} ${down(0)}v${side}`).join("") }),
      ...(s.runs.length > 30 ? [] : s.runs.map(([start, size], g) => svgText(this.left - 6, down(start + size / 2) + 5, names[g], "end"))));
  }

  sign(kind, x, y, r) {
    if (kind === "away") return element("svg:path", { class: "rf-away-to", d: `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}` });
    return element("svg:circle", { class: `rf-${kind}`, cx: x, cy: y, r });
  }

  draw(s, first, second, description) {
    const [same, kin] = s.stays(first, second), to = s.partners(first, second), r = Math.min(7, 0.46 * this.size);
    const shares = { same, kin: kin - same, away: 1 - kin };
    for (const [kind, share] of Object.entries(shares)) this.shares[kind].textContent = percent(share);
    this.title.textContent = `↓ ${s.layers[first]} goes to ${s.layers[second]} →`;
    this.svg.setAttribute("aria-label", description);
    this.moving.replaceChildren(...[...to].map((j, i) => this.sign(
      i === j ? "same" : s.group[i] === s.group[j] ? "kin" : "away", this.left + (j + 0.5) * this.size, 2 + (i + 0.5) * this.size, r)));
  }
}

// --- the distances of both layers, and between them the match ---

class Matched {
  constructor(colours) {
    this.colours = colours;
    this.coupling = new Coupling();
    this.panels = ["one", "other"].map(area => {
      const canvas = element("canvas", { role: "img" }), title = element("b");
      const lines = element("svg:svg", { class: "rf-classes", "aria-hidden": "true", preserveAspectRatio: "none" });
      return { canvas, lines, title, box: element("div", { class: `rf-heat rf-matrix rf-${area}` }, title, element("div", {}, canvas, lines)) };
    });
    this.most = element("span");
    this.title = element("b");
    const [one, other] = this.panels, key = element("div", { class: "rf-bar" }, "0", element("i", { style: gradient(colours) }), this.most);
    one.box.append(key);
    this.box = element("div", { class: "rf-below" }, this.title, element("div", { class: "rf-matched" }, one.box, this.coupling.box, other.box));
  }

  outline(s) {
    this.title.textContent = `Distances between ${s.n} images, by class, and which image goes where`;
    this.coupling.outline(s);
    this.box.style.setProperty("--match", `${WIDE / (s.n * this.coupling.size)}fr`); // all three are equally large
    for (const { canvas, lines } of this.panels) {
      canvas.width = canvas.height = s.n;
      lines.setAttribute("viewBox", `0 0 ${s.n} ${s.n}`);
      lines.replaceChildren(element("svg:path", { d: s.runs.slice(1).map(([start]) => `M0 ${start}H${s.n}M${start} 0V${s.n}`).join("") }));
    }
  }

  // On one scale, to the larger of the two.
  draw(s, pair, text) {
    const most = Math.max(...pair.map(layer => s.most[layer]));
    this.most.textContent = `${most.toFixed(1)} × mean`;
    this.coupling.draw(s, ...pair, `To which image of ${s.layers[pair[1]]} each image of ${s.layers[pair[0]]} goes. ${text}`);
    this.panels.forEach(({ canvas, title }, side) => {
      title.textContent = s.layers[pair[side]];
      canvas.setAttribute("aria-label", `Distances between ${s.n} images in ${s.layers[pair[side]]}, sorted by class.`);
      paintMatrix(canvas.getContext("2d"), s.square(pair[side]), [0, most], this.colours);
    });
  }
}

// --- the whole ---

function render({ model, el }) {
  const words = model.get("words_of"), networks = model.get("networks").map(given => new Network(given));
  const colours = numbers(model.get("colours"), Uint8Array);
  let pointed = null; // the cell under the mouse, for as long as it is there

  // What the traits say, within what the network has.
  const now = () => {
    const s = networks.find(({ name }) => name === model.get("network")), cell = [model.get("first"), model.get("second")];
    const there = cell[0] !== cell[1] && Math.max(...cell) <= s.last;
    return { s, cell: there ? cell : s.pair(...cell), count: Math.min(model.get("n_blocks"), s.last + 1), quantity: model.get("quantity") };
  };
  // Another network is shown at about the same depth, in its best blocks.
  const go = to => {
    const { s, cell } = now(), [first, second] = cell.map(layer => Math.round((layer / s.last) * to.last));
    pointed = null;
    set(model, { network: to.name, first, second: second !== first ? second : first < to.last ? first + 1 : first - 1, n_blocks: to.best });
  };
  const look = (cell, stays) => {
    pointed = stays ? null : cell;
    if (stays && cell) set(model, { first: cell[0], second: cell[1] });
    aloud(stays);
    show();
  };

  // A mouse that passes is not read out.
  const aloud = read => said.setAttribute("aria-live", read ? "polite" : "off");

  const network = menu("Network", chosen => go(networks[chosen]));
  const quantity = menu("Show", chosen => set(model, { quantity: words.order[chosen] }));
  const count = slider("Groups", { min: 1, input: () => set(model, { n_blocks: count.input.valueAsNumber }) });
  const live = { role: "status", "aria-live": "polite" };
  const said = element("p", { class: "rf-result", ...live }), room = element("div", { class: "rf-room" });
  const cuts = element("p", { class: "rf-cuts", ...live }), cutRoom = element("div", { class: "rf-room" });
  const map = new PairsMap(colours, look), bracket = new BracketPlot(), matched = new Matched(colours);
  const lead = element("p", { class: "rf-lead" });
  const root = element("div", { class: "rf-pairs", role: "group", "aria-label": "Layers pair by pair" },
    element("div", { class: "rf-controls" }, network.box, quantity.box), lead,
    element("div", { class: "rf-halves" },
      element("div", { class: "rf-cut-into" }, count.box, cutRoom, element("p", {}, "Groups, outlined in the map, are runs of layers that are closer to each other than to the rest.")),
      map.box, element("div", { class: "rf-one-pair" }, room, bracket.box)),
    matched.box, element("p", { class: "rf-foot" }, "All pairs: ", download(`${model.get("name")}-pairs`, table)));

  let drawn = "";

  function draw() {
    const { s, quantity: asked, count: blocks } = now();
    const still = JSON.stringify([s.name, asked]);
    if (drawn !== (drawn = still)) outline(s, asked);
    const best = blocks === s.best ? ", the best number" : "";
    count.input.value = blocks;
    count.value.textContent = `${blocks}${best}`;
    count.input.setAttribute("aria-valuetext", `${blocks} group${blocks > 1 ? "s" : ""}${best}`);
    map.cut(s.blocks(blocks));
    const text = ofBlocks(s, blocks);
    if (cuts.textContent !== text) cuts.textContent = text;
    aloud(!pointed);
    show();
  }

  // What stays while pairs are pointed at.
  function outline(s, asked) {
    network.show(networks.map(({ title }) => title), networks.indexOf(s));
    quantity.show(words.order.map(name => words.quantities[name]), words.order.indexOf(asked));
    count.input.max = s.last + 1;
    lead.textContent = `Two layers are alike where their ${s.n} images can be matched so that any two are about as far apart in one layer as their partners are in the other. Nobody says which image is which. Choose two layers in the map: point, click or tap, or use the arrow keys.`;
    for (const part of [bracket, matched]) part.outline(s);
    map.outline(s, asked, words);
    reserve(room, said, s.every().map(pair => ofPair(s, ...pair)));
    reserve(cutRoom, cuts, s.layers.map((_, i) => ofBlocks(s, i + 1)));
  }

  // As high as the longest that can be said: what is below it stays where it is.
  function reserve(place, shown, texts) {
    const longest = [...texts].sort((a, b) => b.length - a.length).slice(0, 12);
    place.replaceChildren(shown, ...longest.map(text => element("p", { class: "rf-away", "aria-hidden": "true" }, text)));
  }

  // The pair that is pointed at, or else the one that was kept.
  function show() {
    const { s, cell } = now(), shown = pointed ?? cell, pair = s.pair(...shown), text = ofPair(s, ...pair);
    if (said.textContent !== text) said.textContent = text;
    map.mark(cell, shown);
    bracket.draw(s.of(...pair), `Bounds of the distance, the best match found, all in place, and a random match. ${text}`);
    matched.draw(s, pair, text);
  }

  // As PairMap.words: of the pair, and of the blocks.
  function ofPair(s, first, second) {
    const of = s.of(first, second), [same, kin] = s.stays(first, second), share = cost => FORMS.relative(cost / of.chance);
    let text = `${s.layers[first]} and ${s.layers[second]}: distance ${of.distance.toFixed(3)}, at least ${half(of.lower).toFixed(3)}`;
    if (!(of.chance > 0)) return `${text}; all images are equally far apart in both.`;
    text += `; the best match that was found costs ${share(of.upper)} of a random one. `;
    if (same === 1 && !(of.gap > 0)) return `${text}Every image goes to itself: no cheaper match was found.`;
    return `${text}${FORMS.relative(same)} of the images go to themselves, ${FORMS.relative(kin)} to their class; leaving all in place would cost ${share(of.identity)}.`;
  }

  function ofBlocks(s, blocks) {
    const r2 = s.r2[blocks - 1], run = ([start, end]) => (end - start > 1 ? `${s.layers[start]}–${s.layers[end - 1]}` : s.layers[start]);
    const runs = blocks <= words.named ? ` (${s.blocks(blocks).map(run).join(" | ")})` : "";
    return `${blocks} group${blocks > 1 ? "s" : ""}${runs}: R² ${r2.toFixed(3)}, ${FORMS.relative(r2)} of how distances vary; `
      + (blocks === s.best ? "no number of groups does better." : `${s.best} do${s.best > 1 ? "" : "es"} best.`);
  }

  function table() {
    const { s } = now();
    return s.every().map(([first, second]) => {
      const [same, kin] = s.stays(first, second);
      return { first: s.layers[first], second: s.layers[second], ...s.of(first, second), to_itself: same, to_its_class: kin };
    });
  }

  return mount({ model, el }, root, ["network", "first", "second", "n_blocks", "quantity"], draw);
}

export default { render };
