// What happens beside the page, in a worker: files are read, and curves computed. Told by the messages of try_yours.js.

const MOST_SHOWN = 400; // images in the explorer: more are too fine to see
const MOST_STEP = 2 ** 28; // images² × features: a step of its slider then takes less than a tenth of a second
const MOST_FEATURES = 2 ** 16 - 1, MOST_NAMES = 2 ** 16; // they travel in 16 bits

// Everything about the reader's files but the curves.
async function read({ embedding, people, labels, array, peopleArray, similarity, byPosition, seed, work }) {
  const said = [], say = (...texts) => said.push(...texts.filter(Boolean)), file = Bytes.of(embedding);
  tell("reading", 0);
  const found = await within("embedding", () => readArray(file, array)), stored = found.values;
  say(found.said, found.what);
  checkSource(stored);
  const [n, p] = stored.shape;
  const given = people && (await within("people", () => judged(Bytes.of(people), { ...found, n, p, first: file.name, array: peopleArray, similarity, byPosition, say })));
  const sorted = labels && (await categories(Bytes.of(labels), { ...found, n, first: file.name, byPosition, say }));
  const rows = drawn(n, affordable(n, p, work), seed), m = rows.length;
  const measured = await survey(stored, { rows, codes: sorted?.codes, groups: sorted?.names.length, tell: share => tell("reading", share) });
  if (n < 3) refuse(`an RDM needs at least three images; got ${n}.`);
  if (m < 3) refuse(`an embedding of ${thousands(p)} features is too large for a page. Choose some of them.`);
  const steps = stepsOf(m, p, work), orders = ordersOf(measured.zeros, seed), known = given && among(rows, given, n);
  const shown = p <= MOST_FEATURES ? drawn(m, Math.min(MOST_SHOWN, Math.floor(Math.sqrt(MOST_STEP / p))), seed) : [];
  const scene = shown.length < 3 ? null : sceneOf({ ...measured, shown, rows, p, orders, sorted, known, m, name: file.name });
  return {
    name: file.name, n, p, m, seed, said, poz: measured.poz, steps, orders, scene, shown: shown.length,
    pairs: { values: measured.kept, n: m, p, steps, people: known && standardised(known, m) },
  };
}

// Which of the files it is, with what a file is refused for.
async function within(role, work) {
  try {
    return await work();
  } catch (error) {
    throw Object.assign(error, { role });
  }
}

// As rarefire._engine.blocks.check_source.
function checkSource({ shape, isNumbers, type, descr }) {
  const more = shape.length === 4 ? " Make features of positions, or average them: E.reshape(len(E), -1), E.mean((2, 3))." : "";
  if (shape.length !== 2) refuse(`an embedding is (n_images, n_features); got ${shapeOf(shape)}.${more}`);
  if (/f16$/.test(descr)) refuse("a page has no numbers of 128 bits. Save it with 64: E.astype('f8').");
  if (!isNumbers) refuse(`an embedding holds real numbers; got ${type}.`);
  if (shape[0] < 1) refuse(`at least one image is needed; got ${shape[0]}.`);
  if (shape[1] < 1) refuse(`an embedding needs at least one feature; got ${shapeOf(shape)}.`);
}

// An RDM of the embedding's images: { square, rows }, the RDM's row for each of the embedding's.
async function judged(file, { names, n, p, first, array, similarity, byPosition, say }) {
  const found = await readRdm(file, { similarity, array });
  const matched = align(byPosition ? null : names, byPosition ? null : found.names, { n, first, second: file.name, byPosition });
  if (found.n === p && found.n !== n)
    refuse(`${first} has ${thousands(n)} rows and ${thousands(p)} columns, the RDM ${thousands(found.n)} images: rows are images. Save it turned (E.T).`);
  checkRdm(found.square, found.n, n);
  say(found.said, found.what, `The RDM: ${matched.how}.`);
  return { square: found.square, rows: matched.rows };
}

// { codes (n), names }: a number of a category for each image.
async function categories(file, { names, n, first, byPosition, say }) {
  const found = await readLabels(file, n), what = found.what ? ` (${found.what})` : "";
  let each = found.categories, how = `by position${names ? `, a line for each image of ${first}` : ""}`;
  if (found.names) {
    const matched = align(names, found.names, { n, first, second: file.name, byPosition });
    each = Array.from(matched.rows, row => found.categories[row]);
    ({ how } = matched);
  }
  say(found.said, `Labels: ${how}${what}.`);
  const kinds = [...new Set(each)].sort();
  if (kinds.length > MOST_NAMES) refuse(`an explorer takes up to ${thousands(MOST_NAMES)} categories; got ${thousands(kinds.length)}. Choose some.`);
  const place = new Map(kinds.map((kind, i) => [kind, i]));
  return { codes: Int32Array.from(each, kind => place.get(kind)), names: kinds };
}

// Of the rows that are kept: dissimilarities (m × m).
function among(rows, { square, rows: theirs }, n) {
  const m = rows.length, out = new Float64Array(m * m);
  for (let i = 0; i < m; i++) for (let j = 0; j < m; j++) out[i * m + j] = square[theirs[rows[i]] * n + theirs[rows[j]]];
  return out;
}

// As rarefire.rdm.standardised.
function standardised(square, n) {
  const { mean, spread } = momentsOf(square, n);
  return square.map(v => (mean - v) / (spread > 0 ? spread : 1));
}

// What the explorer is given: rarefire.page.explorer says what travels in a page.
function sceneOf({ shown, rows, p, kept, poz, orders, sorted, fires, known, m, name }) {
  const code = i => (sorted ? sorted.codes[rows[i]] : 0), groups = sorted?.names.length ?? 1;
  const sort = [...shown].sort((i, j) => code(i) - code(j) || i - j), n = sort.length;
  const view = array => new DataView(array.buffer, array.byteOffset, array.byteLength);
  const embedding = new kept.constructor(n * p), ghosts = new Uint8Array(groups * p);
  const sizes = new Float64Array(n).fill(1);
  sort.forEach((row, i) => {
    const own = kept.subarray(row * p, (row + 1) * p), largest = own.reduce((most, v) => Math.max(most, v), 0);
    if (kept instanceof Float64Array && largest > 0) sizes[i] = largest;
    embedding.set(sizes[i] === 1 ? own : own.map(v => v / largest), i * p);
  });
  for (let c = 0; c < groups * p; c++) ghosts[c] = +(poz[c % p] < 1 && (fires ? !fires[c] : sort.every(row => kept[row * p + c] === 0)));
  const scene = {
    stimuli: name.replace(/(?<=.)\.[^.]+$/, ""), network: `${thousands(p)} features`, shape: [n, p], kind: kept instanceof Float64Array ? "f8" : "f4",
    embedding: view(embedding), sizes: view(sizes), poz: view(Float32Array.from(poz)), labels: view(Uint16Array.from(sort, code)), ghosts: view(ghosts), ceiling: [],
    names: sorted?.names ?? [], groups: sorted?.names ?? ["these images"],
    orders: Object.fromEntries(Object.entries(orders).map(([first, order]) => [first, view(Uint16Array.from(order))])),
  };
  if (!known) return scene;
  const theirs = new Float64Array(n * n), condensed = [];
  sort.forEach((a, i) => sort.forEach((b, j) => { theirs[i * n + j] = known[a * m + b]; }));
  const { m: pairs, mean, spread } = momentsOf(theirs, n);
  if (pairs < 3 || !(spread > 0)) return scene;
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) condensed.push((theirs[i * n + j] - mean) / spread);
  return { ...scene, human: view(Float32Array.from(condensed)), scale: [mean, spread] };
}

let kept = null; // what was read here

// This worker's share of the pairs, for every order and metric.
function measure({ pairs = kept, orders, part, of }) {
  const own = new Pairs(pairs), names = Object.keys(orders);
  kept = null;
  return names.flatMap((order, done) => {
    const found = own.curves(orders[order], { part, of, tell: share => tell("computing", (done + share) / names.length) });
    return Object.keys(found).sort().map(metric => ({ order, metric, ...found[metric] }));
  });
}

const tell = (stage, share) => postMessage({ stage, share });

onmessage = async ({ data: { task, ...asked } }) => {
  try {
    if (task === "read") {
      const { pairs, ...found } = await read(asked);
      kept = pairs;
      postMessage({ done: { ...found, pairs: asked.helpers ? pairs : null } });
    } else postMessage({ done: measure(asked) });
  } catch (error) {
    const { message, role, arrays } = error;
    postMessage(error instanceof Refusal ? { refused: message, role, arrays } : { failed: /memory|allocation|array length/i.test(message) ? "There is not enough memory for this in a page. Give it fewer images or features." : `This page failed: ${message}` });
  }
};
