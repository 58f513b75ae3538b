// A threshold on the histogram of PoZ that marks the features above it; see rarefire.page.widgets.PozHistogram.

function render({ model, el }) {
  const sets = model.get("sets").map(set => ({ ...set, poz: numbers(set.poz, Float32Array) }));
  const FRAME = { left: 8, width: 624, bottom: 162, height: 140 }, BINS = 20;
  const step = FRAME.width / (BINS + 1.5); // a column for each bin, a gap, and one for features that never fire
  const across = (bin, within = 0) => FRAME.left + (bin + (bin === BINS ? 0.5 : 0) + within) * step;
  const shown = () => sets[model.get("set")];
  const of = (set, i) => set.poz.subarray(i * set.p, (i + 1) * set.p);
  const goes = rate => rate > model.get("threshold") + 1e-6; // single precision
  const above = rates => rates.filter(goes).length;

  const sprites = sheets(model.get("sprites"), () => portray()), opened = new Map();
  const network = s => Math.min(model.get("network"), s.seeds.length - 1);
  // What a network says of some images, where that is in the page.
  function scene() {
    const i = shown().scenes[network(shown())];
    if (i >= 0 && !opened.has(i)) opened.set(i, new Scene(model.get("scenes")[i], 0, sprites));
    return opened.get(i);
  }

  const images = menu("Images", chosen => set(model, { set: chosen, network: 0 }));
  const networks = menu("Network", chosen => set(model, { network: chosen }));
  const share = slider("Threshold", { min: 0, max: 100, input: () => set(model, { threshold: share.input.valueAsNumber / 100 }) });
  const count = element("output", { class: "rf-r2", ...QUIET }), said = element("span");
  const plot = element("svg:svg", { viewBox: "0 0 640 216", role: "img", class: "rf-histogram" });
  const panel = new FeaturePanel({ name: model.get("name"), choose: feature => set(model, { feature }), follows: "the one at the threshold" });
  const choosing = element("span", {}, "Click or tap one to look at it. ");
  const elsewhere = element("p", { class: "rf-foot" });
  const root = element("div", { class: "rf-threshold", role: "group", "aria-label": "Threshold on PoZ" },
    element("div", { class: "rf-controls" }, images.box, networks.box), share.box,
    element("p", { class: "rf-result" }, count, said), plot,
    element("p", { class: "rf-foot" }, "One box is one feature: filled, it stays; hollow, it goes. ", choosing, download(`${model.get("name")}-features`, table)), panel.box, elsewhere);

  let columns = [], side = 1; // the boxes: features by bin, and how high each is
  dragged(plot, share => {
    const x = share * 640 - FRAME.left;
    set(model, { threshold: Math.min(100, Math.max(0, Math.round((100 * x) / (step * BINS)))) / 100 });
  }, event => {
    const area = plot.getBoundingClientRect(), x = ((event.clientX - area.left) / area.width) * 640, y = ((event.clientY - area.top) / area.height) * 216;
    const column = columns.find((_, bin) => x >= across(bin) && x < across(bin, 1)) ?? [], place = Math.floor((FRAME.bottom - y) / side);
    if (!scene() || place < 0 || place > column.length || !column.length) return null;
    return () => {
      panel.open();
      set(model, { feature: column[Math.min(place, column.length - 1)] });
    };
  });

  // The feature that was chosen, or else the first above the threshold.
  function portray() {
    const s = scene(), open = model.get("scenes").length > 0;
    panel.box.hidden = choosing.hidden = !s;
    elsewhere.hidden = !open || Boolean(s);
    const there = shown().seeds.filter((_, i) => shown().scenes[i] >= 0).map(seed => `seed ${seed}`);
    elsewhere.textContent = there.length ? `What single features fire for is in this page for ${there.join(", ")}.` : "What single features fire for is in this page for other images.";
    if (s) panel.show(s, feature(), "correlation", model.get("feature") === null);
  }

  function feature() {
    const rates = of(shown(), network(shown())), chosen = model.get("feature"), { low } = scene().order;
    return chosen !== null && chosen < rates.length ? chosen : low.find(f => goes(rates[f])) ?? low.at(-1);
  }

  function draw() {
    const s = shown(), threshold = model.get("threshold");
    const rates = of(s, network(s)), removed = above(rates), dead = rates.filter(v => v === 1).length;
    images.show(sets.map(other => other.name), model.get("set"));
    networks.show(s.seeds.map(seed => `seed ${seed}`), network(s));
    share.input.value = Math.round(100 * threshold);
    const limit = percent(threshold, Number.isInteger(Math.round(1000 * threshold) / 10) ? 0 : 1);
    share.value.textContent = `PoZ > ${limit}`;
    const shares = s.seeds.map((_, i) => above(of(s, i)) / s.p).sort((a, b) => a - b);
    const at = q => quantile(shares, q);
    const text = `go: silent for more than ${limit} of the images. ${dead} never fire. ` +
      (shares.length > 1 ? `Over ${shares.length} networks: ${percent(at(0.5))} go (median; 90 % of networks: ${percent(at(0.05))} to ${percent(at(0.95))}).` : "");
    count.textContent = `${removed} of ${s.p} features (${percent(removed / s.p)})`;
    said.textContent = text;
    share.input.setAttribute("aria-valuetext", `PoZ above ${limit}: ${count.textContent} go`);
    plot.setAttribute("aria-label", `Histogram of PoZ of ${s.p} features. ${count.textContent} ${text}`);
    boxes(s, rates, FRAME.left + threshold * BINS * step, scene() && (panel.box.open || model.get("feature") !== null) ? feature() : null);
    portray();
  }

  function boxes(s, rates, cut, chosen) {
    columns = Array.from({ length: BINS + 1 }, () => []);
    [...rates.keys()].sort((a, b) => rates[a] - rates[b] || a - b).forEach(feature => {
      const rate = rates[feature];
      columns[rate === 1 ? BINS : Math.min(BINS - 1, Math.floor(rate * BINS + 1e-6))].push(feature);
    });
    const tallest = Math.max(...columns.map(column => column.length));
    side = Math.min(step - 3, FRAME.height / tallest);
    const parts = columns.flatMap((column, bin) => column.map((feature, place) => {
      const hollow = goes(rates[feature]), inset = hollow ? 0.7 : 0;
      const shape = element("svg:rect", {
        x: across(bin) + 1.5 + inset, y: FRAME.bottom - (place + 1) * side + inset,
        width: step - 3 - 2 * inset, height: Math.max(1, side - 1.2 - 2 * inset), class: `${hollow ? "rf-goes" : "rf-stays"}${feature === chosen ? " rf-chosen" : ""}` });
      shape.append(element("svg:title", {}, `feature ${feature}: PoZ ${percent(rates[feature], 1)}`));
      return shape;
    }));
    const label = (x, text, anchor = "middle") => element("svg:text", { x, y: FRAME.bottom + 21, "text-anchor": anchor }, text);
    plot.style.setProperty("--set", s.colour);
    plot.classList.toggle("rf-chooses", Boolean(scene()));
    plot.replaceChildren(
      element("svg:path", { class: "rf-axis", d: `M${FRAME.left} ${FRAME.bottom}h${BINS * step}m${step / 2} 0h${step}` }), ...parts,
      ...[0, 20, 40, 60, 80, 100].map(v => label(FRAME.left + (v / 100) * BINS * step, percent(v / 100), v ? "middle" : "start")),
      element("svg:text", { x: FRAME.left + FRAME.width, y: FRAME.bottom + 46, "text-anchor": "end" }, "never fire"),
      ...columns.map((column, bin) => column.length === tallest && element("svg:text", {
        x: across(bin, 0.5), y: FRAME.bottom - tallest * side - 4, "text-anchor": "middle" }, tallest)).filter(Boolean),
      element("svg:text", { x: FRAME.left, y: FRAME.bottom + 46 }, "PoZ: share of images for which the feature is 0"),
      element("svg:path", { class: "rf-cut", d: `M${cut} 4V${FRAME.bottom + 5}` }));
  }

  function table() {
    const s = shown(), rates = of(s, network(s));
    return [...rates].map((poz, feature) => ({ feature, poz, removed: +goes(poz) }));
  }

  panel.box.addEventListener("toggle", draw);
  const unmount = mount({ model, el }, root, ["set", "network", "threshold", "feature"], draw);
  return () => {
    unmount();
    for (const { sheet } of sprites) URL.revokeObjectURL(sheet.src);
  };
}

// Of sorted values, with linear interpolation as numpy has it.
function quantile(sorted, q) {
  const place = q * (sorted.length - 1), low = Math.floor(place), high = Math.ceil(place);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

export default { render };
