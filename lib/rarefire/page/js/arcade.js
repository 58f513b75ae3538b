// The false-positive arcade: studies are drawn, two tests judge them; rarefire.page.arcade says what is shown.

const LEVEL = 0.05, Z = 1.959963984540054, PLACES = 100, TESTS = { naive: "Naive test", valid: "Valid test" };
const DIALS = ["images", "noise", "folds", "splits", "effect"];
// What the worker is made of.
const PARTS = [residuals, similarities, Twister, condensed, drawStudy, pearson, tTest, overFolds, overImages, centred, correlationOf, oneStudy];
const WORK = `onmessage = ({ data: { world, setting, seed, from, to, job } }) => {
  const found = [];
  for (let i = from; i < to; i++) found.push(oneStudy(world, setting, [seed, i]));
  postMessage({ job, found });
};`;

const pText = p => (p < 0.001 ? "p\u00a0<\u00a0.001" : `p\u00a0=\u00a0${p.toFixed(3)}`);
const several = n => `${n.toLocaleString("en")} ${n === 1 ? "study" : "studies"}`;

// Wilson's (1927) interval of a share.
function wilson(found, n) {
  const share = found / n, z2 = (Z * Z) / n, middle = share + z2 / 2, margin = Z * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n));
  return [Math.max(0, (middle - margin) / (1 + z2)), Math.min(1, (middle + margin) / (1 + z2))];
}

function render({ model, el }) {
  const given = model.get("world"), world = { ...given };
  for (const name of ["mixing", "thresholds", "weights"]) world[name] = numbers(given[name], Float64Array);
  const { kept, each, groups, effects, gains, most } = world, p = groups * each;
  let studies = [], key = "", job = 0, busy = false, past = [], spoken = "";
  const setting = () => Object.fromEntries(DIALS.map(name => [name, model.get(name)]));
  const address_ = address([...PARTS, WORK].join("\n"), "text/javascript"), worker = new Worker(address_);

  // --- sliders, buttons ---

  const change = changes => {
    if (studies.length) notice.textContent = " The counts start over.";
    set(model, { ...changes, drawn: 0, shown: 0 });
  };
  const at = name => model.get(name);
  const dials = {
    images: slider("Images", { min: 24, max: 60, step: 4, input: () => change({ images: dials.images.input.valueAsNumber }) }),
    noise: slider("Noise", { min: 0.25, max: 3, step: 0.25, input: () => change({ noise: dials.noise.input.valueAsNumber }) }),
    folds: slider("Folds", { min: 2, max: 8, input: () => change({ folds: dials.folds.input.valueAsNumber }) }),
    splits: slider("Splits into folds", { min: 1, max: 16, input: () => change({ splits: dials.splits.input.valueAsNumber }) }),
    effect: slider("Planted effect", { min: 0, max: effects.length - 1, input: () => change({ effect: effects[dials.effect.input.valueAsNumber] }) }),
  };
  const more = count => () => {
    notice.textContent = "";
    set(model, { drawn: Math.min(most, at("drawn") + count), shown: most });
  };
  const press = (label, act, kind = "") => element("button", { type: "button", class: `rf-press ${kind}`, click: act, ...OWN_KEYS }, label);
  const buttons = [press("One study", more(1)), press("Ten", more(10)), press("A hundred", more(100))];
  const over = press("Start over", () => { notice.textContent = ""; set(model, { drawn: 0, shown: 0 }); }, "rf-quiet");

  // --- boards, drawings ---

  const boards = Object.fromEntries(Object.entries(TESTS).map(([test, title]) => {
    const rate = element("output", { class: "rf-r2", ...QUIET }), words = element("span");
    const lights = Array.from({ length: PLACES }, (_, place) => element("i", { "data-place": place }));
    const grid = element("div", { class: "rf-lights", role: "img", click: event => {
      const place = event.target.dataset.place, index = first() + +place;
      if (place !== undefined && index < studies.length) set(model, { shown: index });
    } }, ...lights);
    const how = test === "naive" ? "at the curve’s peak, over folds" : `at ${percent(kept / p)}, decided before, over images`;
    const box = element("div", { class: `rf-board rf-${test}` }, element("b", {}, title, element("small", {}, how)), element("p", { class: "rf-result" }, rate, words), grid);
    return [test, { box, rate, words, lights, grid }];
  }));
  const first = () => Math.max(0, studies.length - PLACES);
  const running = element("svg:svg", { viewBox: "0 0 340 178", role: "img", class: "rf-curve rf-still" });
  const plot = element("svg:svg", { viewBox: "0 0 340 178", role: "img", class: "rf-curve rf-still" });
  const which = slider("Study", { min: 1, max: 2, input: () => set(model, { shown: which.input.valueAsNumber - 1 }) });
  const told = element("span"), notice = element("span");
  const counts = element("span", { class: "rf-hidden" }), verdict = element("span"), sentence = element("p", { class: "rf-verdict", role: "status" }, counts, verdict);
  const log = element("tbody"), worlds = element("div", { class: "rf-worlds", hidden: true });
  worlds.append(element("b", {}, "Worlds you have left"), element("div", { class: "rf-scroll", tabindex: 0, role: "region", "aria-label": "Worlds you have left" },
    element("table", {}, element("thead", {}, element("tr", {}, ...["naive", "valid", "studies", "images", "noise", "splits × folds", "effect"].map(title => element("th", { scope: "col" }, title)))), log)));
  const key_ = (test, label) => element("span", { class: `rf-${test}` }, element("i"), label);
  const root = element("div", { class: "rf-arcade", role: "group", "aria-label": "The false-positive arcade" },
    element("div", { class: "rf-dials" }, ...Object.values(dials).map(dial => dial.box)), element("p", { class: "rf-world", role: "status" }, told, notice),
    element("div", { class: "rf-presses" }, ...buttons, over),
    element("div", { class: "rf-boards" }, ...Object.values(boards).map(board => board.box)),
    element("div", { class: "rf-side" },
      element("div", {}, element("b", {}, "Share of studies that light up, so far"), running,
        element("p", { class: "rf-foot rf-lines2" }, key_("naive", "naive"), key_("valid", "valid"), key_("level", "5 %"), " shade: 95 % interval (Wilson)")),
      element("div", {}, element("b", {}, "The study’s curve: r with people"), plot,
        element("p", { class: "rf-foot rf-lines2" }, key_("naive", "peak"), key_("valid", "decided before"), key_("level", "over all images there could be")))),
    which.box, sentence, worlds,
    element("p", { class: "rf-foot" }, element("span", {}, `Squares: the last ${PLACES} studies; filled where p < .05. Seed ${at("seed")}: the same studies every time. `), download(`${at("name")}-studies`, table)));

  // --- drawing studies, beside the page ---

  worker.onmessage = ({ data }) => {
    busy = false;
    if (data.job === job) studies.push(...data.found);
    draw();
  };

  function work() {
    const now = setting(), next = JSON.stringify([now, at("seed")]);
    if (next !== key) {
      if (studies.length) past = [[key, studies], ...past].slice(0, 20);
      [key, studies, job] = [next, [], job + 1];
    } else if (studies.length > at("drawn")) [studies, job] = [studies.slice(0, at("drawn")), job + 1];
    const to = Math.min(at("drawn"), studies.length + 5);
    if (busy || to <= studies.length) return;
    busy = true;
    const step = effects.findIndex(effect => Math.abs(effect - now.effect) < 1e-9);
    worker.postMessage({ world: { ...world, splits: now.splits }, setting: { ...now, gain: step ? gains[step - 1] : null }, seed: at("seed"), from: studies.length, to, job });
  }

  // --- words ---

  const tally = (test, of = studies) => of.filter(study => study[test].p < LEVEL).length;

  function rate(test, of) {
    const found = tally(test, of), n = of.length, [low, high] = wilson(found, n);
    return { found, n, low, high, short: percent(found / n), range: `${(100 * low).toFixed(0)} to ${percent(high)}` };
  }

  function worldWords({ images, noise, folds, splits, effect }) {
    const what = effect
      ? `A world with an effect: the rarest eighth of the features fires for what people do not see; without it, r with people is ${percent(effect)} higher. Every dark square is a miss.`
      : "A world without an effect: whatever is left out, r with people stays the same. Every light is a false positive.";
    return `${what} ${images} images; noise ${noise.toFixed(2)} times what people share; ${splits} × ${folds} folds.`;
  }

  function verdictWords(index, { best, naive, valid }) {
    const effect = at("effect"), judged = ({ d, p }) => (p < LEVEL ? (effect ? (d > 0 ? "rightly" : "the wrong way round") : "a false positive") : effect ? "a miss" : "rightly");
    const said = (test, k) => `“${test.p < LEVEL ? (test.d > 0 ? "better" : "worse") : "no difference"} with ${percent(k / p)} of the features, ${pText(test.p)}”, ${judged(test)}`;
    return `Study ${index + 1}. This world has ${effect ? "an" : "no"} effect. The naive test: ${said(naive, (best + 1) * each)}. The valid test: ${said(valid, kept)}.`;
  }

  // --- drawing the page ---

  function draw() {
    work();
    const now = setting(), n = studies.length, index = Math.min(at("shown"), n - 1), shown = studies[index], done = !busy && n === at("drawn");
    const values = { images: `${now.images}`, noise: `${now.noise.toFixed(2)} × what people share`, folds: `${now.folds}`, splits: `${now.splits}`, effect: now.effect ? `r ${percent(now.effect)} higher` : "none" };
    for (const name of DIALS) {
      dials[name].input.value = name === "effect" ? effects.findIndex(effect => Math.abs(effect - now.effect) < 1e-9) : now[name];
      dials[name].value.textContent = values[name];
      dials[name].input.setAttribute("aria-valuetext", values[name]);
    }
    const text = worldWords(now);
    if (told.textContent !== text) told.textContent = text;
    for (const button of buttons) button.disabled = at("drawn") >= most;
    over.disabled = !at("drawn");
    for (const [test, board] of Object.entries(boards)) lights(test, board, index);
    shares();
    which.input.max = Math.max(2, n);
    which.input.value = index + 1;
    which.input.disabled = n < 2;
    which.value.textContent = n ? `${(index + 1).toLocaleString("en")} of ${n.toLocaleString("en")}` : "none yet";
    which.input.setAttribute("aria-valuetext", shown ? verdictWords(index, shown) : "none yet");
    one(shown, now);
    if (!done) return; // while studies come in, nothing is read out
    counts.textContent = n ? `${TESTS.naive}: ${tally("naive")} of ${n}. ${TESTS.valid}: ${tally("valid")} of ${n}. ` : "";
    const words = shown ? verdictWords(index, shown) : "No study yet: draw one, ten or a hundred.";
    if (spoken !== (spoken = `${counts.textContent}${words}`)) verdict.textContent = words;
    pastWorlds();
  }

  function lights(test, { rate: big, words, lights: all, grid }, index) {
    const n = studies.length, start = first();
    if (n) {
      const { found, short, range } = rate(test, studies);
      big.textContent = short;
      words.textContent = `${found.toLocaleString("en")} of ${n.toLocaleString("en")} (95\u00a0%: ${range})`;
    } else {
      big.textContent = "–";
      words.textContent = "no study yet";
    }
    all.forEach((light, place) => {
      const study = studies[start + place];
      light.className = study ? `${study[test].p < LEVEL ? "rf-lit" : "rf-dark"}${start + place === index ? " rf-shown" : ""}` : "";
    });
    const last = studies.slice(start);
    grid.setAttribute("aria-label", `${TESTS[test]}: ${n ? `${tally(test, last)} of the last ${several(last.length)} lit` : "no study yet"}`);
  }

  const line = points => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const FRAME = { left: 42, right: 332, top: 8, bottom: 148 };

  function shares() {
    const n = studies.length, wide = Math.max(20, n), step = Math.ceil(n / 250), names = Object.keys(TESTS), tracks = {};
    for (const test of names) {
      let found = 0;
      tracks[test] = [];
      studies.forEach((study, i) => {
        found += study[test].p < LEVEL;
        if (i % step === 0 || i === n - 1) tracks[test].push([i + 1, found / (i + 1), ...wilson(found, i + 1)]);
      });
    }
    const top = names.some(test => tracks[test].some(([i, share]) => i > 9 && share > 0.5)) || (n && n < 10) ? 1 : 0.5;
    const x = i => FRAME.left + ((FRAME.right - FRAME.left) * i) / wide, y = share => FRAME.bottom - (FRAME.bottom - FRAME.top) * Math.min(1, share / top);
    const parts = [0, 0.2, 0.4, 0.6, 0.8, 1].map(share => share * top).flatMap(share => [
      element("svg:path", { class: "rf-grid", d: `M${FRAME.left} ${y(share)}H${FRAME.right}` }), svgText(FRAME.left - 5, y(share) + 3.5, percent(share, (100 * share) % 1 ? 1 : 0), "end")]);
    for (const test of names) {
      const track = tracks[test];
      if (!track.length) continue;
      const there = track.map(([i, , low]) => [x(i), y(low)]), back = track.map(([i, , , high]) => [x(i), y(high)]).reverse();
      parts.push(element("svg:path", { class: `rf-shade rf-${test}`, d: `${line([...there, ...back])}Z` }));
    }
    parts.push(element("svg:path", { class: "rf-five", d: `M${FRAME.left} ${y(LEVEL)}H${FRAME.right}` }));
    for (const test of names) {
      const track = tracks[test].map(([i, share]) => [x(i), y(share)]);
      if (track.length) parts.push(element("svg:path", { class: `rf-line rf-now rf-${test}`, d: line(track) }), element("svg:circle", { class: `rf-dot rf-${test}`, cx: track.at(-1)[0], cy: track.at(-1)[1], r: 4 }));
    }
    running.replaceChildren(...parts, svgText(FRAME.left, 163, "0", "middle"), svgText(FRAME.right, 163, wide.toLocaleString("en"), "end"), svgText((FRAME.left + FRAME.right) / 2, 175, "studies", "middle"));
    running.setAttribute("aria-label", n ? `Share of ${several(n)} with p below .05: ${names.map(test => { const { short, range } = rate(test, studies); return `${test} ${short}, interval ${range}`; }).join("; ")}. The line is at 5 %.` : "Share of studies with p below .05: no study yet.");
  }

  function one(shown, { noise, effect }) {
    const truth = world.signal / Math.sqrt(1 + noise * noise), truths = Array.from({ length: groups }, (_, g) => (g < groups - 1 ? truth : truth / (1 + effect)));
    const seen = [...truths, ...(shown ? shown.curve : [])], middle = (Math.min(...seen) + Math.max(...seen)) / 2, half = Math.max(0.12, (Math.max(...seen) - Math.min(...seen)) / 2 + 0.04);
    const low = middle - half, x = g => FRAME.left + ((FRAME.right - 14 - FRAME.left) * (g + 1)) / groups, y = r => FRAME.bottom - ((FRAME.bottom - FRAME.top) * (r - low)) / (2 * half);
    const step = half > 0.3 ? 0.2 : half > 0.15 ? 0.1 : 0.05, ticks = [];
    for (let t = Math.ceil(low / step - 1e-9); t * step <= middle + half + 1e-9; t++) ticks.push(t * step);
    const parts = ticks.flatMap(r => [element("svg:path", { class: "rf-grid", d: `M${FRAME.left} ${y(r)}H${FRAME.right}` }), svgText(FRAME.left - 5, y(r) + 3.5, shortly(r, 2).replace(/^(−?)0\./, "$1."), "end")]);
    parts.push(element("svg:path", { class: "rf-five", d: line(truths.map((r, g) => [x(g), y(r)])) }));
    if (shown) {
      const spots = shown.curve.map((r, g) => [x(g), y(r)]), [bx, by] = spots[shown.best], [kx, ky] = spots[kept / each - 1];
      parts.push(element("svg:path", { class: "rf-line rf-plain", d: line(spots) }), ...spots.map(([cx, cy]) => element("svg:circle", { class: "rf-point", cx, cy, r: 2.2 })),
        element("svg:rect", { class: `rf-dot rf-valid${shown.valid.p < LEVEL ? "" : " rf-hollow"}`, x: kx - 5, y: ky - 5, width: 10, height: 10 }),
        element("svg:circle", { class: `rf-dot rf-naive${shown.naive.p < LEVEL ? "" : " rf-hollow"}`, cx: bx, cy: by, r: 5 }),
        svgText(bx, by - 9 < FRAME.top + 6 ? by + 17 : by - 9, pText(shown.naive.p), bx > 290 ? "end" : bx < 70 ? "start" : "middle"),
        svgText(kx + (shown.best * each + each === kept ? 8 : 0), shown.best * each + each === kept ? ky + 4 : Math.min(FRAME.bottom - 3, ky + 18), pText(shown.valid.p), shown.best * each + each === kept ? "start" : "middle"));
    }
    plot.replaceChildren(...parts, ...[2, 4, 6, 8].map(g => svgText(x(g - 1), 163, percent(g / groups), "middle")), svgText((FRAME.left + FRAME.right) / 2, 175, "features kept, low→high PoZ", "middle"));
    plot.setAttribute("aria-label", shown ? `Correlation with people by features kept: ${shown.curve.map((r, g) => `${percent((g + 1) / groups)}: ${shortly(r, 2)}`).join(", ")}.` : "Correlation with people by features kept: no study yet.");
  }

  function pastWorlds() {
    worlds.hidden = !past.length;
    log.replaceChildren(...past.map(([left, of]) => {
      const [{ images, noise, folds, splits, effect }] = JSON.parse(left), [naive, valid] = Object.keys(TESTS).map(test => rate(test, of));
      return element("tr", {}, ...[`${naive.short} (${naive.range})`, `${valid.short} (${valid.range})`, of.length, images, noise.toFixed(2), `${splits} × ${folds}`, effect ? percent(effect) : "none"].map(text => element("td", {}, text)));
    }));
  }

  function table() {
    const now = setting(), rows = studies.map(({ curve, best, naive, valid }, i) => ({
      study: i + 1, ...now, seed: at("seed"), naive_k: (best + 1) * each, naive_d: naive.d, naive_p: naive.p, valid_k: kept, valid_d: valid.d, valid_p: valid.p,
      ...Object.fromEntries(curve.map((r, g) => [`r_${(g + 1) * each}`, r])) }));
    return rows.length ? rows : [{ study: "", ...now, seed: at("seed") }];
  }

  const unmount = mount({ model, el }, root, [...DIALS, "seed", "drawn", "shown"], draw);
  return () => { unmount(); worker.terminate(); URL.revokeObjectURL(address_); };
}

export default { render };
