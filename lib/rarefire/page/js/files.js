// Files of the reader, read without a kernel: .npy, .npz and text. What is taken and what is refused, and in which
// words, is as in rarefire.files, texts, labels, rdm and names; nothing in a file is executed. Runs in a worker.

// What a file or its numbers are refused with: the sentence that Python has for it.
class Refusal extends Error {
  constructor(sentence, more = {}) {
    super(sentence);
    Object.assign(this, more);
  }
}

const refuse = (sentence, more) => { throw new Refusal(sentence, more); };

// --- as Python writes ---

const thousands = n => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const shapeOf = shape => (shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`);
const sizeOf = shape => shape.map(thousands).join(" × ");

function repr(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = [...text].map(c => {
    if (c === "\\" || c === quote) return `\\${c}`;
    const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[c], code = c.codePointAt(0);
    return short ?? (code < 32 || (code > 126 && code < 161) ? `\\x${code.toString(16).padStart(2, "0")}` : c);
  });
  return quote + escaped.join("") + quote;
}

const listed = names => names.slice(0, 10).map(repr).join(", ") + (names.length > 10 ? ", …" : "");

// As format(value, ".3g") or another number of digits.
function general(value, digits = 3) {
  if (!Number.isFinite(value)) return value !== value ? "nan" : value < 0 ? "-inf" : "inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, power] = value.toExponential(digits - 1).split("e"), exponent = +power;
  const trimmed = text => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent >= -4 && exponent < digits) return trimmed(value.toFixed(Math.max(0, digits - 1 - exponent)));
  return `${trimmed(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

// --- bytes: of a file on disk, read in slices, or of what was unpacked ---

const SLICE = 2 ** 22; // bytes read at once
const MOST_UNPACKED = 2 ** 30; // bytes held in memory, of what cannot be read in slices

class Bytes {
  constructor(name, size, slice) {
    Object.assign(this, { name, size, slice });
  }

  static of(file) {
    return new Bytes(file.name, file.size, async (start, end) => {
      try {
        return new Uint8Array(await file.slice(start, end).arrayBuffer());
      } catch (error) {
        return refuse(`${file.name} cannot be read: ${error.message}. Choose it again.`);
      }
    });
  }

  static held(name, bytes) {
    return new Bytes(name, bytes.length, (start, end) => bytes.subarray(start, end));
  }

  read(start, end) {
    return this.slice(start, Math.min(end, this.size));
  }
}

// --- what kind of file it is, by its first bytes ---

const starts = (bytes, signs, at = 0) => signs.every((sign, i) => bytes[at + i] === sign);
const ascii = text => [...text].map(c => c.charCodeAt(0));
const HDF = [0x89, ...ascii("HDF\r\n"), 0x1a, 0x0a];
const LEGACY_TORCH = [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

async function kindOf(file) {
  const start = await file.read(0, 4096), suffix = (/\.[^.]*$/.exec(file.name) ?? [""])[0].toLowerCase();
  if (starts(start, [0x93, ...ascii("NUMPY")])) return { kind: "npy" };
  if (starts(start, ascii("PK"))) return archive(file);
  if ([0, 512, 1024, 2048].some(at => starts(start, HDF, at))) return { kind: "hdf" };
  if (starts(start, ascii("MATLAB 5.0"))) return { kind: "mat" };
  if (starts(start, LEGACY_TORCH)) return { kind: "torch" };
  if (start[0] === 0x80 && start[1] >= 2 && start[1] <= 5) return { kind: "pickle" };
  if (starts(start, ascii("PAR1"))) return { kind: "parquet" };
  if ([".rds", ".rdata", ".rda"].includes(suffix)) return { kind: "r" };
  if (starts(start, [0x1f, 0x8b])) return { kind: "gzip" };
  if (start[8] === 0x7b && start.length > 8) {
    const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
    if (length > 0n && length < 10n ** 8n) return { kind: "safetensors" };
  }
  const zeros = start.includes(0);
  if (suffix === ".mat" && zeros) return { kind: "mat" };
  if (starts(start, [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1])) return { kind: "excel" };
  if (starts(start, ascii("# Created by Octave"))) return { kind: "octave" };
  if (zeros && !starts(start, [0xff, 0xfe]) && !starts(start, [0xfe, 0xff]) && !wide(start)) return { kind: "binary" };
  const first = start.find(byte => ![9, 10, 11, 12, 13, 32].includes(byte));
  return { kind: first === 0x7b || first === 0x5b ? "json" : "text" };
}

const PYTHON = code => `python -c "${code}"`;
// What is not read: what it is, and what makes another file of it.
const REFUSED = {
  pickle: (name, stem) => ["a pickle, which can run code when it is opened",
    `If you trust it: ${PYTHON(`import numpy, pickle; numpy.save('${stem}.npy', pickle.load(open('${name}', 'rb')))`)}`],
  parquet: (name, stem) => ["a Parquet file", PYTHON(`import pandas; pandas.read_parquet('${name}').to_csv('${stem}.csv')`)],
  excel: (name, stem) => ["an Excel file",
    `Save it as CSV, or: ${PYTHON(`import pandas; pandas.read_excel('${name}', index_col=0).to_csv('${stem}.csv')`)}`],
  r: (name, stem) => ["an R file", `Rscript -e "write.csv(as.matrix(readRDS('${name}')), '${stem}.csv')"`],
  gzip: name => ["compressed", `gunzip -k '${name}'`],
  zip: name => ["an archive of other files", `unzip '${name}', and name the file inside.`],
  safetensors: (name, stem) => ["a safetensors file",
    PYTHON(`import numpy; from safetensors.numpy import load_file; numpy.savez('${stem}.npz', **load_file('${name}'))`)],
  octave: (name, stem) => ["Octave's own text", `In Octave: save -v7 ${stem}.mat E`],
  binary: (name, stem) => ["a binary file of a kind that is not known here",
    `Read are .npy, .npz, zarr, .mat, .h5, .pt and text: numpy.save('${stem}.npy', array) in Python.`],
};
// What Python reads, and a page does not.
const ELSEWHERE = { mat: "a MATLAB file", hdf: "an HDF5 file", torch: "a file of tensors", json: "JSON" };

function refusal(file, kind) {
  const plain = /^[\p{L}\p{N}_.,+=@ -]+$/u.test(file.name), suffix = (/.\.[^.]+$/.exec(file.name) ?? [" "])[0].slice(1);
  const name = plain ? file.name : `FILE${suffix}`, stem = name.replace(/(?<=.)\.[^.]+$/, "");
  if (kind in ELSEWHERE) {
    const line = PYTHON(`import numpy; from rarefire import files; numpy.save('${stem}.npy', files.read('${name}').values)`);
    refuse(`${file.name} is ${ELSEWHERE[kind]}: this page reads .npy, .npz and text, the Python package reads it too. ${line}`);
  }
  const [what, line] = REFUSED[kind](name, stem);
  refuse(`${file.name} is ${what}: it is not read. ${line}`);
}

// --- .npy ---

const NPY_MAGIC = 6, KNOWN_NUMBERS = /^[<>|=]?(b1|[iu][1248]|f[248])$/;

// What a header says, from bytes that can be read: { shape, fortran, descr, at }. Throws plain Errors with the
// reason as NumPy has it.
async function npyHeader(file) {
  const part = async (start, length, what) => {
    const bytes = await file.read(start, start + length);
    if (bytes.length < length) throw new Error(`EOF: reading ${what}, expected ${length} bytes got ${bytes.length}`);
    return bytes;
  };
  const [major, minor] = (await part(0, NPY_MAGIC + 2, "magic string")).subarray(NPY_MAGIC);
  if (![1, 2, 3].includes(major) || minor)
    throw new Error(`we only support format version (1,0), (2,0), and (3,0), not (${major}, ${minor})`);
  const width = major === 1 ? 2 : 4, lead = await part(NPY_MAGIC + 2, width, "array header length");
  const length = lead.reduceRight((sum, byte) => 256 * sum + byte, 0);
  if (length > 2 ** 24) throw new Error("its header is longer than any");
  const header = await part(NPY_MAGIC + 2 + width, length, "array header");
  const text = new TextDecoder(major === 3 ? "utf-8" : "latin1").decode(header);
  return { ...parsedHeader(text), at: NPY_MAGIC + 2 + width + length };
}

function parsedHeader(text) {
  const shape = /['"]shape['"]\s*:\s*\(([^()]*)\)/.exec(text), fortran = /['"]fortran_order['"]\s*:\s*(True|False)\s*[,}]/.exec(text);
  const descr = /['"]descr['"]\s*:\s*(?:['"]([^'"]*)['"]|(\[.*?\])\s*,\s*['"](?:fortran_order|shape)|)/.exec(text);
  const lengths = shape?.[1].split(",").map(part => part.trim()).filter(Boolean);
  const whole = lengths?.every(part => /^-?\d+L?$/.test(part));
  if (!whole || !fortran || !(descr?.[1] ?? descr?.[2])) throw new Error(`Cannot parse header: ${repr(text)}`);
  const made = { shape: lengths.map(part => parseInt(part, 10)), fortran: fortran[1] === "True", descr: descr[1] ?? descr[2] };
  if (!/^([<>|=]?([biufcSUVaOmM?]\d*)(\[[^\]]*\])?|\[.*\])$/.test(made.descr)) throw new Error(`descr is not a valid dtype descriptor: ${repr(made.descr)}`);
  return made;
}

// How NumPy calls a type that holds no numbers, or a number that it knows.
function typeName(descr) {
  if (descr.startsWith("[")) return descr;
  const [, order, kind, size, unit] = /^([<>|=]?)([a-zA-Z?])(\d*)(.*)$/.exec(descr);
  if (kind === "U") return `${order === ">" ? ">" : "<"}U${size}`;
  if (kind === "S" || kind === "a") return `|S${size}`;
  if (kind === "V") return `|V${size}`;
  if (kind === "O") return "object";
  if (order === ">") return descr;
  if (kind === "M") return `datetime64${unit}`;
  if (kind === "m") return `timedelta64${unit}`;
  return { b: "bool", i: "int", u: "uint", f: "float", c: "complex" }[kind] + (kind === "b" ? "" : 8 * size);
}

const itemSize = descr => {
  const [, kind, size] = /^[<>|=]?([a-zA-Z?])(\d*)/.exec(descr) ?? [];
  return kind === "U" ? 4 * size : +size;
};

// An array in a file, of which any part can be had: `numbers(start, end)`, counted as they lie in the file.
class Stored {
  constructor(file, header) {
    Object.assign(this, header);
    this.file = file;
    this.item = itemSize(this.descr);
    this.length = this.shape.reduce((all, length) => all * length, 1);
  }

  get isNumbers() { return KNOWN_NUMBERS.test(this.descr); }

  get type() { return typeName(this.descr); }

  async numbers(start, end) {
    const bytes = await this.file.read(this.at + start * this.item, this.at + end * this.item);
    if (bytes.length < (end - start) * this.item) refuse(`${this.file.name} has become shorter while it was read. Choose it again.`);
    return converted(bytes, this.descr);
  }

  // Words of an array of text.
  async words() {
    const bytes = await this.file.read(this.at, this.at + this.length * this.item), words = [];
    for (let i = 0; i < this.length; i++) words.push(word(bytes.subarray(i * this.item, (i + 1) * this.item), this.descr));
    return words;
  }
}

function word(bytes, descr) {
  if (!/U/.test(descr)) return new TextDecoder().decode(bytes).replace(/\0+$/, "").trim();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4) text += String.fromCodePoint(view.getUint32(i, !descr.startsWith(">")));
  return text.replace(/\0+$/, "").trim();
}

// In memory already, row by row.
class Held {
  constructor(values, shape) {
    Object.assign(this, { values, shape, fortran: false, length: values.length, isNumbers: true, item: 8, descr: "<f8", type: "float64" });
  }

  numbers(start, end) { return this.values.subarray(start, end); }
}

const KINDS = {
  b1: Uint8Array, u1: Uint8Array, i1: Int8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  i8: BigInt64Array, u8: BigUint64Array, f2: Uint16Array, f4: Float32Array, f8: Float64Array,
};

// Bytes of an array as numbers that JavaScript has.
function converted(bytes, descr) {
  const code = descr.replace(/^[<>|=]/, ""), size = +code[1], Kind = KINDS[code];
  const own = bytes.slice(); // aligned, and ours to change
  if (descr.startsWith(">") && size > 1)
    for (let i = 0; i < own.length; i += size) own.subarray(i, i + size).reverse();
  const values = new Kind(own.buffer, 0, own.length / size);
  if (code === "f2") return Float32Array.from(values, half);
  if (code === "b1") return values.map(v => +(v !== 0));
  return size === 8 && code[0] !== "f" ? Float64Array.from(values, Number) : values;
}

// A number of 16 bits.
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

async function npy(file) {
  const bad = reason => refuse(`${file.name} cannot be read as a .npy array of numbers: ${reason}`);
  let header;
  try {
    header = await npyHeader(file);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    bad(error.message);
  }
  if (/O/.test(header.descr)) bad("Array can't be memory-mapped: Python objects in dtype.");
  if (header.shape.some(length => length < 0)) bad("memory mapped length must be positive");
  const stored = new Stored(file, header);
  const item = header.descr.startsWith("[") ? 0 : stored.item;
  if (stored.length * item > file.size - header.at) bad("it holds less than its header says; replace it by a whole copy");
  return stored;
}

// --- archives: .npz ---

async function archive(file) {
  const damaged = reason => refuse(`${file.name} is a damaged archive: ${reason}. Replace it by a whole copy.`);
  const tail = await file.read(Math.max(0, file.size - 66000), file.size), view = new DataView(tail.buffer, tail.byteOffset, tail.length);
  let end = tail.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) damaged("File is not a zip file");
  let count = view.getUint16(end + 10, true), length = view.getUint32(end + 12, true), start = view.getUint32(end + 16, true);
  if (end >= 20 && view.getUint32(end - 20, true) === 0x07064b50) {
    const at = Number(view.getBigUint64(end - 12, true)), bytes = await file.read(at, at + 56);
    if (bytes.length < 56) damaged("File is not a zip file");
    const more = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    [count, length, start] = [32, 40, 48].map(place => Number(more.getBigUint64(place, true)));
  }
  const entries = directory(await file.read(start, start + length), count);
  if (!entries) damaged("Bad magic number for central directory");
  const names = entries.map(({ name }) => name);
  if (names.some(name => name.endsWith("data.pkl"))) return { kind: "torch" };
  if (names.some(name => name.startsWith("xl/"))) return { kind: "excel" };
  return { kind: names.length && names.every(name => name.endsWith(".npy")) ? "npz" : "zip", entries };
}

// What a central directory lists; null where it is none.
function directory(bytes, count) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), entries = [];
  for (let i = 0, at = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50) return null;
    const [nameLength, extra, comment] = [28, 30, 32].map(place => view.getUint16(at + place, true));
    let [crc, packed, size, offset] = [16, 20, 24, 42].map(place => view.getUint32(at + place, true));
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    // Sizes beyond 32 bits stand in a field of their own.
    for (let e = at + 46 + nameLength; e + 4 <= at + 46 + nameLength + extra; e += 4 + view.getUint16(e + 2, true)) {
      if (view.getUint16(e, true) !== 1) continue;
      let next = e + 4;
      const long = () => Number(view.getBigUint64((next += 8) - 8, true));
      if (size === 0xffffffff) size = long();
      if (packed === 0xffffffff) packed = long();
      if (offset === 0xffffffff) offset = long();
    }
    entries.push({ name, method: view.getUint16(at + 10, true), crc, packed, size, offset });
    at += 46 + nameLength + extra + comment;
  }
  return entries;
}

// An entry's bytes. What does not fit into memory is refused; what is more than its directory says, too.
async function unpacked(file, { name, method, crc, packed, size, offset }) {
  if (size > MOST_UNPACKED)
    refuse(`${file.name} holds ${name} of ${(size / 2 ** 30).toFixed(1)} GiB, and a page unpacks up to 1 GiB. Save the array alone, as .npy.`);
  const head = await file.read(offset, offset + 30);
  if (head.length < 30 || !starts(head, ascii("PK\x03\x04"))) throw new Error("Bad magic number for file header");
  const from = offset + 30 + head[26] + 256 * head[27] + head[28] + 256 * head[29];
  const bytes = new Uint8Array(size);
  let at = 0;
  const take = part => {
    if (at + part.length > size) throw new Error(`${name} is longer than its archive says`);
    bytes.set(part, at);
    at += part.length;
  };
  if (method !== 0 && method !== 8) throw new Error("That compression method is not supported");
  const source = new ReadableStream({
    async start(control) {
      for (let place = from; place < from + packed; place += SLICE) {
        const part = await file.read(place, Math.min(from + packed, place + SLICE));
        if (!part.length) break;
        control.enqueue(part);
      }
      control.close();
    },
  });
  const reader = (method ? source.pipeThrough(new DecompressionStream("deflate-raw")) : source).getReader();
  try {
    for (let part; !(part = await reader.read()).done;) take(part.value);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (!/longer/.test(error.message)) at = -1;
  }
  if (at !== size || checksum(bytes) !== crc) throw new Error(`Bad CRC-32 for file ${repr(name)}`);
  return bytes;
}

let remainders = null;
function checksum(bytes) {
  remainders ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = remainders[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

const BUFFER = 2 ** 18; // bytes that NumPy reads at once from an archive

// What an archive holds: arrays of numbers and lists of words, by name.
async function npz(file, entries) {
  const content = { kind: "NumPy", numbers: new Map(), words: new Map() };
  let objects = false;
  for (const entry of entries) {
    const inside = Bytes.held(file.name, await unpacked(file, entry)), name = entry.name.replace(/\.npy$/, "");
    if (!starts(inside.read(0, 6), [0x93, ...ascii("NUMPY")])) continue;
    const stored = new Stored(inside, await npyHeader(inside));
    if (/O/.test(stored.descr)) { objects = true; continue; }
    if (stored.descr.startsWith("[")) continue;
    const there = inside.size - stored.at, need = stored.length * stored.item;
    if (need > there) {
      const block = Math.floor(BUFFER / Math.min(BUFFER, stored.item)) * stored.item, read = Math.floor(there / block) * block;
      throw new Error(`EOF: reading array data, expected ${Math.min(block, need - read)} bytes got ${there - read}`);
    }
    if (/[US]/.test(stored.descr)) {
      if (stored.shape.length && stored.length) content.words.set(name, await stored.words());
    } else if (/[fiubc]/.test(stored.descr) && stored.shape.length && stored.length > 1) content.numbers.set(name, stored);
  }
  if (!content.numbers.size && objects) throw new Error("its arrays are Python objects, which are pickles");
  return content;
}

// --- text: rarefire.texts ---

const MISSING = new Set(["", "na", "n/a", "#n/a", "nan", "null", "none", "-", "."]);
const NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?)$/i;
const COMMA = /^[+-]?\d*,\d+(?:e[+-]?\d+)?$/i;
const MOST_TEXT = 2 ** 28;

const isMissing = cell => MISSING.has(cell.toLowerCase());
const isNumber = cell => NUMBER.test(cell) || isMissing(cell);

function numberOf(cell) {
  const value = Number(cell);
  if (value === value && cell) return value;
  return isMissing(cell) ? NaN : cell[0] === "-" ? -Infinity : Infinity;
}

const MARKS = [
  [[0xef, 0xbb, 0xbf], "UTF-8"], [[0xff, 0xfe, 0, 0], "UTF-32"], [[0, 0, 0xfe, 0xff], "UTF-32"], [[0xff, 0xfe], "UTF-16"], [[0xfe, 0xff], "UTF-16"],
];

// UTF-16 without a mark: where most of every second byte, and none of the others, is 0.
function wide(bytes) {
  for (const [encoding, high] of [["utf-16le", 1], ["utf-16be", 0]]) {
    let zeros = 0, low = 0, n = 0;
    for (let i = 0; i < bytes.length; i++)
      if (i % 2 === high) { n++; zeros += bytes[i] === 0; } else low += bytes[i] === 0;
    if (2 * zeros <= n || low) continue;
    try {
      const text = new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, bytes.length - (bytes.length % 2)));
      if (!/[\x00-\x08\x0e-\x1f\x7f]/.test(text)) return encoding;
    } catch { /* it is none */ }
  }
  return "";
}

// { text, said }: what it says, and what is to be said of its encoding.
async function textOf(file, kind = "text") {
  const advice = reason => `${file.name} cannot be read as ${kind}: ${reason}. Save it as UTF-8 (in Excel: CSV UTF-8).`;
  if (file.size > MOST_TEXT)
    refuse(`${file.name} is text of ${(file.size / 2 ** 20).toFixed(0)} MiB, and a page takes ${MOST_TEXT / 2 ** 20}. Save the array as .npy.`);
  const bytes = await file.read(0, file.size), mark = MARKS.find(([signs]) => starts(bytes, signs));
  const decode = (encoding, part) => new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(part);
  let text;
  try {
    if (mark?.[1] === "UTF-32") text = utf32(bytes.subarray(4), mark[0][0] === 0xff);
    else if (mark?.[1] === "UTF-16") text = decode(mark[0][0] === 0xff ? "utf-16le" : "utf-16be", bytes.subarray(2));
    else text = decode(wide(bytes) || "utf-8", bytes.subarray(mark ? 3 : 0));
  } catch {
    if (mark) refuse(advice(`it starts as ${mark[1]} but is none`));
    return latin(file, bytes, advice);
  }
  if (text.includes("\0")) refuse(advice("it holds bytes of value 0, as files do that are no text"));
  return { text, said: "" };
}

function utf32(bytes, little) {
  if (bytes.length % 4) throw new Error("not whole");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), parts = [];
  for (let i = 0; i < bytes.length; i += 4) parts.push(String.fromCodePoint(view.getUint32(i, little)));
  return parts.join("");
}

// What is no UTF-8: Latin-1 where single letters among plain ones are all that speaks against it.
function latin(file, bytes, advice) {
  const parts = [];
  for (let i = 0; i < bytes.length; i += 2 ** 15) parts.push(String.fromCharCode(...bytes.subarray(i, i + 2 ** 15)));
  const text = parts.join("");
  if (/[\x00-\x08\x0e-\x1f\x7f-\x9f]|[\x80-\xff]{3}/.test(text))
    refuse(advice("it is neither UTF-8 nor UTF-16, and its encoding is not to be told"));
  const shown = text.split(/[ \t\r\n,;]+/).find(part => /[^\x00-\x7f]/.test(part));
  const said = `${file.name} is no UTF-8; it is read as Latin-1, with ${repr(shown.slice(0, 40))} in it. If that is not the word, save it as UTF-8.`;
  return { text, said };
}

function linesOf(text) {
  const found = text.split(/\r\n|\r|\n/);
  while (found.length && !found.at(-1).trim()) found.pop();
  return found;
}

// Rows of cells, with commas, semicolons, tabs or spaces between them; numbers have points.
function table(text, name) {
  const named = /^"?sep=(.)"?$/i.exec(text.replace(/^[\r\n]+/, "").split("\n", 1)[0].trim());
  let rows, delimiter;
  if (named) {
    delimiter = named[1];
    rows = split(text, delimiter, name).slice(1);
  } else {
    const candidates = ["\t", ";", ",", " "].filter(sign => text.includes(sign));
    const tried = (candidates.length ? candidates : [","]).map(sign => ({ sign, rows: split(text, sign, name) }));
    const even = tried.filter(one => isEven(one.rows)), left = even.length ? even : tried;
    const counts = left.map(one => (left.length > 1 ? countNumbers(one.rows, one.sign) : 0));
    ({ rows, sign: delimiter } = left[counts.indexOf(Math.max(...counts))]);
  }
  if (delimiter === ",") return rows;
  let comma = null, point = null;
  for (const row of rows)
    for (const cell of row) {
      if (comma === null && COMMA.test(cell)) comma = cell;
      if (point === null && cell.includes(".") && NUMBER.test(cell)) point = cell;
    }
  if (comma !== null && point !== null) refuse(`${name} has numbers with a comma (${comma}) and with a point (${point}). Write all with points.`);
  return comma === null ? rows : rows.map(row => row.map(cell => (COMMA.test(cell) ? cell.replace(",", ".") : cell)));
}

function isEven(rows) {
  const [least, most] = rows.reduce(([a, b], { length }) => [Math.min(a, length), Math.max(b, length)], [Infinity, 0]);
  return rows.length > 0 && most - least <= 1 && least > 1;
}

function countNumbers(rows, delimiter) {
  let count = 0;
  for (const row of rows) for (const cell of row) if (NUMBER.test(cell) || (delimiter !== "," && COMMA.test(cell))) count++;
  return count;
}

function split(text, delimiter, name) {
  text = text.replace(/^(# [^\r\n]*(\r\n|\r|\n))+/, above => "\n".repeat(linesOf(above).length));
  const spaced = delimiter === " ";
  const cut = text.includes('"') ? quoted(spaced ? linesOf(text).map(line => line.replace(/^ +| +$/g, "")).join("\n") : text, delimiter, name)
    : linesOf(text).map(line => (spaced ? line.replace(/^ +| +$/g, "").split(/ +/) : line.split(delimiter)));
  const rows = [];
  for (const row of cut) {
    const cells = row.map(cell => cell.trim());
    if (cells.length > 1 || cells.some(Boolean)) rows.push(cells);
  }
  while (rows.length && !rows.at(-1).some(Boolean)) rows.pop();
  return rows;
}

// With cells in quotes, as Python's csv reads them: spaces after a delimiter are skipped.
function quoted(text, delimiter, name) {
  const rows = [], OPEN = 0, PLAIN = 1, INSIDE = 2, AFTER = 3;
  let row = [], cell = "", state = OPEN, begun = false;
  const end = () => { row.push(cell); cell = ""; state = OPEN; };
  const line = () => { if (begun) { end(); rows.push(row); } row = []; begun = false; state = OPEN; };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (cell.length > 131072) refuse(`${name} cannot be read as a table: field larger than field limit (131072).`);
    if (state === INSIDE) {
      if (c === '"') state = AFTER; else cell += c;
      continue;
    }
    if (c === "\n" || c === "\r") {
      if (c === "\r" && text[i + 1] === "\n") i++;
      line();
      continue;
    }
    begun = true;
    if (state === OPEN && c === '"') state = INSIDE;
    else if (state === OPEN && c === " ") continue;
    else if (c === delimiter) end();
    else if (state === AFTER && c === '"') { cell += c; state = INSIDE; } else { cell += c; state = PLAIN; }
  }
  line();
  return rows;
}

function withoutLast(rows) {
  const ends = rows.length && rows[0].some(Boolean) && rows.every(row => row.length > 1 && !row.at(-1));
  return ends ? rows.map(row => row.slice(0, -1)) : rows;
}

// --- an embedding from text ---

const same = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);
const counted = (n, start) => Array.from({ length: n }, (_, i) => String(i + start));
const NAMING = /^(?:unnamed: ?0|index|(?:image|img|item|stim|stimulus|file|picture|object|concept)?[ _]?(?:id|name|path|file)?)$/i;

function textContent(text, name) {
  let rows = withoutLast(table(text, name)), header = [];
  if (!rows.length) throw new Error("it is empty");
  const [first] = rows, width = first.length, counts = [0, 1].map(start => counted(width, start));
  const corner = ["", "Unnamed: 0"].includes(first[0]);
  if (!first.slice(1).every(isNumber) || counts.some(count => same(first, count)) || (corner && counts.some(count => same(first.slice(1), count.slice(0, -1)))))
    [header, rows] = [first, rows.slice(1)];
  if (!rows.length) throw new Error("it has one line, of names");
  const named = header.length === rows[0].length - 1 || !rows.every(row => isNumber(row[0])) || (header.length > 1 && NAMING.test(header[0]));
  const names = named ? rows.map(row => row[0]) : null, from = +named;
  const lengths = [...new Set(rows.map(row => row.length - from))].sort((a, b) => a - b);
  if (same(lengths, [0])) throw new Error("it holds no numbers");
  if (lengths.length > 1) throw new Error(`its rows have ${lengths.join(", ")} entries`);
  const [p] = lengths, values = new Float64Array(rows.length * p);
  rows.forEach((row, i) => {
    for (let j = 0; j < p; j++) {
      const cell = row[from + j];
      if (!isNumber(cell)) throw new Error(`row ${i + 1}, column ${j + 1} of the numbers is ${repr(cell)}`);
      values[i * p + j] = numberOf(cell);
    }
  });
  const content = { kind: "text", numbers: new Map([["", new Held(values, [rows.length, p])]]), words: new Map() };
  if (names && ![0, 1].some(start => same(names, counted(rows.length, start)))) content.words.set("first column", names);
  return content;
}

// --- what is taken: rarefire.files ---

const TITLES = { npz: "NumPy's archive of arrays", text: "a matrix of numbers" };
const ADVICE = {
  npz: "Save it again with numpy.savez, numbers and text only.",
  text: "Expected a line for each image, numbers apart by commas, tabs or spaces.",
};

// { values (Stored or Held), names or null, what, said }: an array, as rarefire.files.read takes it.
async function readArray(file, array) {
  const { kind, entries } = await kindOf(file);
  if (kind === "npy") return { values: await npy(file), names: null, what: "", said: "" };
  if (kind !== "npz" && kind !== "text") refusal(file, kind);
  let content, said = "";
  try {
    if (kind === "npz") content = await npz(file, entries);
    else {
      const read = await textOf(file, "a matrix of numbers");
      said = read.said;
      content = textContent(read.text, file.name);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    refuse(`${file.name} cannot be read as ${TITLES[kind]}: ${error.message}. ${ADVICE[kind]}`);
  }
  return { ...taken(content, file.name, array), said };
}

const KNOWN = ["dissimilarities", "measurements"];

function taken({ kind, numbers, words }, name, array) {
  if (!numbers.size) refuse(`${name} holds no array of numbers.`);
  if (!numbers.has(array)) {
    const known = KNOWN.filter(one => numbers.has(one)), all = [...numbers.keys()];
    if (numbers.size > 1 && known.length !== 1) {
      const some = all.slice(0, 10).map(one => `${one} ${sizeOf(numbers.get(one).shape)}`).join(", ");
      const more = all.length > 10 ? `, … (${all.length} in all)` : "";
      refuse(`${name} holds several arrays: ${some}${more}. Say which with --array (--human-array for people; array= in Python).`, { arrays: all });
    }
    array = known.length === 1 ? known[0] : all[0];
  }
  const values = numbers.get(array), [source, names] = namesOf(words, values.shape);
  const called = array ? `${repr(array)}, ` : "", said = names ? `; names of images from ${repr(source)}` : "";
  return { values, names, what: `${name}: ${called}${sizeOf(values.shape)} (${kind})${said}.` };
}

function imagesOf(pairs) {
  const n = Math.floor((1 + Math.floor(Math.sqrt(1 + 8 * pairs))) / 2);
  return n >= 2 && (n * (n - 1)) / 2 === pairs ? n : null;
}

// The one list of different words that is as long as there are images.
function namesOf(words, shape) {
  const lengths = [shape[0], shape.length === 3 ? shape[2] : null, imagesOf(shape.at(-1)), imagesOf(shape[0])];
  const fitting = [...words].filter(([, list]) => lengths.includes(list.length) && new Set(list).size === list.length);
  const described = fitting.filter(([source]) => /^(pattern|obs)_descriptors\//.test(source));
  const telling = described.length ? described : fitting.filter(([source]) => /stim|image|name|file|cond|item/i.test(source));
  const chosen = fitting.length > 1 ? telling : fitting;
  return chosen.length === 1 ? chosen[0] : ["", null];
}

// --- names of images: rarefire.names ---

const PICTURES = new Set([".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".tga", ".ppm", ".pgm"]);

function areNumbers(names) {
  return names !== null && ["", "V", "X"].some(letter => [0, 1].some(start => names.every((name, i) => name === `${letter}${i + start}`)));
}

function plainName(name) {
  if (/^https?:\/\//.test(name)) try { name = decodeURIComponent(new URL(name).pathname); } catch { /* as it is */ }
  return name.trim().replaceAll("\\", "/").normalize("NFC").replace(/^\.\//, "");
}

function stemOf(name) {
  const extension = /\.[A-Za-z]+$/.exec(name);
  return extension && PICTURES.has(extension[0].toLowerCase()) ? name.slice(0, extension.index) : name;
}

const SPELLINGS = [
  [plainName, ""], [name => stemOf(plainName(name)), "extension"],
  [name => plainName(name).toLowerCase(), "capitals"], [name => stemOf(plainName(name)).toLowerCase(), "extension and capitals"],
];

function endsOf(name) {
  const parts = name.split("/");
  return parts.map((_, i) => parts.slice(i).join("/"));
}

class NameIndex {
  constructor(known) {
    this.whole = SPELLINGS.map(() => new Map());
    this.ends = SPELLINGS.map(() => new Map());
    const note = (map, key, i) => { if (!map.has(key)) map.set(key, new Set()); map.get(key).add(i); };
    known.forEach((name, i) => SPELLINGS.forEach(([spell], s) => {
      const ends = endsOf(spell(name));
      note(this.whole[s], ends[0], i);
      for (const end of ends) note(this.ends[s], end, i);
    }));
  }

  // [which of the others a name can mean, what is left out of account for it].
  find(name) {
    for (const [s, [spell, without]] of SPELLINGS.entries()) {
      const [whole, ...shorter] = endsOf(spell(name)), exact = this.whole[s].get(whole);
      if (exact) return [exact, without];
      const found = this.ends[s].get(whole) ?? this.whole[s].get(shorter.find(end => this.whole[s].has(end)));
      if (found) return [found, `${without} and folders`.replace(/^ and /, "")];
    }
    return [new Set(), ""];
  }
}

function checkDifferent(names, where) {
  const seen = new Set();
  for (const name of names) {
    if (seen.has(name)) refuse(`${where} has two images called ${repr(name)}. Names must differ.`);
    seen.add(name);
  }
}

// { rows, how }: which row of the other file belongs to each row.
function align(own, other, { n, first, second, byPosition }) {
  const position = Int32Array.from({ length: n }, (_, i) => i), beside = `${first.replace(/(?<=.)\.[^.]+$/, "")}.names.txt`;
  if (byPosition) return { rows: position, how: "by position, as asked for" };
  const force = "or match them row by row with --by-position (by_position=True)";
  if (own === null && (other === null || areNumbers(other))) return { rows: position, how: "by position: neither has names" };
  if (own === null) refuse(`${second} names its images, ${first} does not: write their names into ${beside}, one a line, ${force}.`);
  let found = [];
  const used = new Map();
  if (other !== null) {
    checkDifferent(own, beside);
    checkDifferent(other, second);
    const index = new NameIndex(other);
    found = own.map(name => index.find(name));
    for (const [rows] of found) for (const i of rows) used.set(i, (used.get(i) ?? 0) + 1);
    if (other.length === n && found.every(([rows]) => rows.size === 1) && used.size === n) {
      const without = new Set(found.flatMap(([, text]) => text.split(" and "))), said = ["extension", "capitals", "folders"].filter(part => without.has(part));
      const how = said.length ? `aligned by name, whatever the ${said.join(" and ")}` : "aligned by name";
      return { rows: Int32Array.from(found, ([rows]) => [...rows][0]), how };
    }
  }
  if (other === null || areNumbers(other)) refuse(`${first} has names (${beside}), ${second} has none: give it names, ${force}.`);
  const several = found.findIndex(([rows]) => rows.size > 1), twice = [...used].find(([, count]) => count > 1);
  const ambiguous = several >= 0 ? own[several] : twice && other[twice[0]];
  if (ambiguous !== undefined)
    refuse(`the name ${repr(ambiguous)} fits several images of ${first} and ${second}: write whole names in both, ${force}.`);
  const lost = own.filter((_, i) => !found[i][0].size), extra = other.filter((_, i) => !used.has(i));
  const differ = [[second, lost, own.length], [first, extra, other.length]].filter(([, lacking]) => lacking.length)
    .map(([file, lacking, of]) => `${file} lacks ${thousands(lacking.length)} of ${thousands(of)} (${listed(lacking.slice(0, 3))})`);
  return refuse(`the images of ${first} and ${second} differ: ${differ.join(" and ")}. Give both the same names, ${force}.`);
}

// --- labels: rarefire.labels ---

const LONGEST = 200;
const CALLED_IMAGE = /^(image|img|file|filename|path|stimulus|stim|picture|pic|photo|name|item|object)(id|name|file|path)?$/;
const CALLED_CATEGORY = /^(label|category|class|kind|group|condition|concept|type)(name|id)?$/;
const isCalled = (cell, pattern) => pattern.test(cell.toLowerCase().replace(/[^a-z]/g, ""));

// { names or null, categories, what, said }: a category for each image.
async function readLabels(file, n) {
  const { kind } = await kindOf(file);
  if (kind !== "text")
    refuse(`${file.name} is no text: labels are a category a line, as numpy.savetxt('labels.txt', labels, fmt='%s') writes them.`);
  const { text, said } = await textOf(file);
  const found = labelTable(text, file.name, n) ?? { names: null, categories: labelLines(text, n), what: "" };
  if (found.categories.length !== n)
    refuse(`${file.name} has ${thousands(found.categories.length)} lines; there are ${thousands(n)} images.`);
  const categories = found.categories.map(category => category.trim().normalize("NFC"));
  categories.forEach((category, i) => {
    if (isMissing(category)) refuse(`${file.name} says no category of image ${i + 1}: ${repr(category)}. Name one.`);
    if ([...category].length > LONGEST)
      refuse(`${file.name}: the category of image ${i + 1} has ${thousands([...category].length)} characters; at most ${LONGEST} are shown. Shorten it.`);
  });
  return { ...found, categories, said };
}

function labelLines(text, n) {
  const found = linesOf(text);
  return found.length === n + 1 && isCalled(found[0], CALLED_CATEGORY) ? found.slice(1) : found;
}

// Categories from a table; null for a text of one column, whose lines may have commas in them.
function labelTable(text, name, n) {
  let rows;
  try {
    rows = /[,;\t]/.test(text) ? table(text, name) : [];
  } catch {
    return null;
  }
  const width = rows[0]?.length ?? 0;
  if (width < 2 || rows.some(row => row.length !== width) || ![n, n + 1].includes(rows.length)) return null;
  const header = rows.length > n ? rows[0] : Array(width).fill("");
  const columns = header.map((_, i) => rows.slice(rows.length - n).map(row => row[i]));
  const uncertain = () => {
    const named = header.some(Boolean) ? ` (${listed(header)})` : "";
    refuse(`${name} has ${width} columns${named}, and it is not certain which hold the images and their categories: call them image and category in a first line.`);
  };
  const different = [...columns.keys()].filter(i => new Set(columns[i]).size === n), pictures = [...PICTURES];
  let images = different.filter(i => isCalled(header[i], CALLED_IMAGE));
  if (!images.length) images = different.filter(i => columns[i].every(cell => pictures.some(end => cell.toLowerCase().endsWith(end))));
  let categories = [...header.keys()].filter(i => isCalled(header[i], CALLED_CATEGORY) && !images.includes(i));
  if (width === 2 && !categories.length) {
    if (!different.length) return rows.length === n ? null : uncertain(); // commas in the categories' names
    images = images.length ? images : different.slice(0, 1);
    categories = [1 - images[0]];
  }
  if (categories.length !== 1 || images.length > 1) uncertain();
  const [own] = categories;
  if (width === 2 && !images.length && different.includes(1 - own)) images = [1 - own];
  const roles = [...images.map(i => ["image", i]), ["category", own]].map(([role, i]) => `${role} is ${header[i] ? repr(header[i]) : `column ${i + 1}`}`);
  const unused = [...header.keys()].filter(i => i !== own && !images.includes(i)).map(i => repr(header[i]));
  const what = roles.join(", ") + (unused.length ? `; not used: ${unused.join(", ")}` : "");
  return { names: images.length ? columns[images[0]] : null, categories: columns[own], what };
}

// --- an RDM: rarefire.rdm ---

const MOST_PAIRED = 8192; // images: their pairs take half a gigabyte

// { square (n × n), n, names or null, what, said }: dissimilarities of one person, or the mean over several.
async function readRdm(file, { similarity = false, array } = {}) {
  const { kind } = await kindOf(file);
  let above = null, before = null, values, shape, what = "", said = "";
  try {
    if (kind === "text") {
      const read = await textOf(file, "a matrix of numbers");
      said = read.said;
      ({ values, shape, above, before } = matrixOf(read.text, file.name));
      if (above && before && shape[0] === shape[1]) [values, above] = columnsAsRows(values, shape[0], above, before);
    } else {
      const found = await readArray(file, array), stored = found.values;
      ({ what, names: above } = found);
      shape = stored.shape;
      if (/c/.test(stored.descr)) throw new Error("its numbers are complex");
      if (!stored.isNumbers) throw new Error(`it holds ${stored.type}`);
      if (stored.length > MOST_PAIRED ** 2) refuse(`${file.name} is ${sizeOf(shape)}: a page takes RDMs of up to ${thousands(MOST_PAIRED)} images. Keep some of the images.`);
      values = rowsFirst(Float64Array.from(await stored.numbers(0, stored.length)), stored);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    refuse(`${file.name} cannot be read as a matrix of numbers: ${error.message}`);
  }
  if (kind === "text" && shape[0] !== shape[1] && Math.min(...shape) > 1) refuse(`the RDM in ${file.name} must be square; got ${shapeOf(shape)}.`);
  const { squares, n } = squaresOf(values, shape, file.name);
  const people = squares.map(square => dissimilarities(square, n, file.name, similarity));
  if (shape.length < 3 && (shape.length < 2 || shape[0] !== shape[1]))
    what = [what, `${file.name}: condensed, pairs in the order (1, 2), (1, 3), … (2, 3), …, as squareform of scipy and MATLAB has them.`].filter(Boolean).join(" ");
  if (people.length > 1)
    what = [what, `${file.name}: RDMs of ${people.length} people, each brought to mean 0 and standard deviation 1, averaged.`].filter(Boolean).join(" ");
  return { square: averaged(people, n), n, names: matrixNames(above, before, file.name), what, said };
}

// A stored array's numbers in the order of rows.
function rowsFirst(values, { shape, fortran }) {
  if (!fortran || shape.length < 2) return values;
  const out = new Float64Array(values.length), strides = shape.map((_, d) => shape.slice(0, d).reduce((all, v) => all * v, 1));
  const place = shape.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    out[i] = values[place.reduce((at, v, d) => at + v * strides[d], 0)];
    for (let d = shape.length - 1; d >= 0 && ++place[d] === shape[d]; d--) place[d] = 0;
  }
  return out;
}

// A matrix of numbers from text, the names above its columns, and those before its rows.
function matrixOf(text, name) {
  let rows = withoutLast(table(text, name)), above = null, before = null;
  const [first] = rows;
  const onlyBefore = rows.length && first.length === rows.length + 1 && first.slice(1).every(isNumber);
  const noDiagonal = () => rows.every((row, i) => i < row.length && isMissing(row[i]));
  const named = rows.length && ((!first.every(isNumber) && !onlyBefore) || rows.length === first.length + 1
    || (!first[0] && same(first.slice(1), rows.slice(1).map(row => row[0])) && (areNumbers(first.slice(1)) || !noDiagonal())));
  if (named) [above, rows] = [first, rows.slice(1)];
  if (rows.length && (!rows.every(row => isNumber(row[0])) || rows[0].length === rows.length + 1)) {
    before = rows.map(row => row[0]);
    rows = rows.map(row => row.slice(1));
    if (before.includes("")) throw new Error(`row ${before.indexOf("") + 1} has no name before it, or the matrix is not whole`);
  }
  const lengths = [...new Set(rows.map(row => row.length))].sort((a, b) => a - b);
  if (lengths.length !== 1) throw new Error(`its rows have ${lengths.join(", ") || "no"} entries`);
  rows.forEach((row, i) => row.forEach((cell, j) => {
    if (!isNumber(cell)) throw new Error(`row ${i + 1}, column ${j + 1} of the numbers is ${repr(cell)}`);
  }));
  const values = Float64Array.from(rows.flat(), numberOf);
  if (above) {
    if (above.length < lengths[0]) throw new Error(`it has ${above.length} names above ${lengths[0]} columns`);
    above = above.slice(above.length - lengths[0]);
  }
  return { values, shape: [rows.length, lengths[0]], above, before };
}

const alike = (a, b) => (a !== a ? b !== b : Math.abs(a - b) <= 1e-8 + 1e-5 * Math.abs(b) || a === b);

function isSymmetric(values, n) {
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) if (!alike(values[i * n + j], values[j * n + i])) return false;
  return true;
}

// Columns in the order of the rows, where both have the same names and only so match.
function columnsAsRows(values, n, above, before) {
  if (same(above, before) || !same([...above].sort(), [...before].sort()) || new Set(before).size < n) return [values, above];
  const places = before.map(name => above.indexOf(name)), turned = values.map((_, c) => values[Math.floor(c / n) * n + places[c % n]]);
  return !isSymmetric(values, n) && isSymmetric(turned, n) ? [turned, before] : [values, above];
}

// Of one person or several, of whatever form they are kept in.
function squaresOf(values, shape, name) {
  const parts = (size, each) => Array.from({ length: values.length / size }, (_, i) => each(values.subarray(i * size, (i + 1) * size)));
  if (shape.length === 3 && shape[1] !== shape[2] && shape[0] === shape[1]) { // people last, as MATLAB's users stack them
    const [n, , m] = shape;
    return { n, squares: Array.from({ length: m }, (_, k) => Float64Array.from({ length: n * n }, (_, c) => values[c * m + k])) };
  }
  if (shape.length === 3 && shape[1] === shape[2]) return { n: shape[1], squares: parts(shape[1] ** 2, part => part.slice()) };
  if (shape.length === 2 && shape[0] === shape[1]) return { n: shape[0], squares: [values.slice()] };
  const [lines, width] = shape.length === 1 ? [1, shape[0]] : shape.length === 2 && shape[1] === 1 ? [1, shape[0]] : shape;
  const n = shape.length <= 2 ? imagesOf(width) : null;
  if (n === null || n < 3 || (lines > 1 && Math.abs(lines - width) <= 2))
    refuse(`the RDM in ${name} must be square; got ${shapeOf(shape)}. Or give it condensed, n(n − 1)/2 numbers for n images; of several people, a line for each.`);
  return { n, squares: parts(width, part => {
    const square = new Float64Array(n * n).fill(NaN);
    for (let i = 0, c = 0; i < n; i++) for (let j = i + 1; j < n; j++, c++) square[i * n + j] = square[j * n + i] = part[c];
    return square;
  }) };
}

// One person's, checked: both triangles filled, similarities turned round; changed in place.
function dissimilarities(square, n, name, similarity) {
  const infinite = square.reduce((count, v) => count + (v === Infinity || v === -Infinity), 0);
  if (infinite) refuse(`${infinite} values of the RDM in ${name} are infinite.`);
  const own = Array.from({ length: n }, (_, i) => square[i * n + i]).filter(v => v === v);
  const at = [(i, j) => i * n + j, (i, j) => j * n + i];
  const pairs = each => { for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) each(i, j); };
  for (const [half, other] of [at, [at[1], at[0]]]) {
    let empty = n > 1;
    pairs((i, j) => { empty &&= square[half(i, j)] !== square[half(i, j)]; });
    if (!empty) continue;
    if (own.length && (own.some(v => v !== own[0]) || (own[0] !== 0 && !similarity)))
      refuse(`${name} holds one triangle, and on its diagonal ${general(own.find(v => v !== 0), 6)}: if it is of ${n + 1} images, write their whole matrix; if of ${n}, leave the diagonal empty.`);
    pairs((i, j) => { square[half(i, j)] = square[other(i, j)]; });
  }
  if (!isSymmetric(square, n)) {
    let lower = false;
    pairs((i, j) => { lower ||= square[j * n + i] === square[j * n + i] && square[j * n + i] !== 0; });
    refuse(`the RDM is not symmetric: its upper and lower triangles differ.${lower ? "" : " Fill in both triangles."}`);
  }
  const known = [];
  pairs((i, j) => { if (square[i * n + j] === square[i * n + j]) known.push(square[i * n + j]); });
  if (!known.length) refuse(`the RDM in ${name} holds no value for any pair.`);
  checkMarks(known, name);
  const [low, high] = ends(known);
  if (similarity) return square.map((v, c) => (Math.floor(c / n) === c % n ? 0 : high - v));
  const itself = Array.from({ length: n }, (_, i) => square[i * n + i]);
  const others = itself.map((_, i) => {
    let most = -Infinity;
    for (let j = 0; j < n; j++) if (j !== i && square[i * n + j] > most) most = square[i * n + j];
    return most;
  });
  if (n > 1 && itself.every((v, i) => v >= others[i]) && low < Math.max(...itself))
    refuse(`in ${name} no image is less dissimilar to itself than to others: these look like similarities. Say so (similarity=True, --similarity).`);
  return square;
}

const ends = values => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
const MARKED = new Set([-1, -9, -99, -999, -9999, 99, 999, 9999]);

// Numbers that mean that there is none, where they lie far from all others.
function checkMarks(known, name) {
  const others = known.filter(v => !MARKED.has(v));
  if (others.length === known.length || others.length < 2) return;
  const [low, high] = ends(others), far = known.filter(v => MARKED.has(v) && (v < low - (high - low) || v > high + (high - low)));
  if (far.length)
    refuse(`${thousands(far.length)} numbers in ${name} are ${general(far[0], 6)}, the others lie between ${general(low, 6)} and ${general(high, 6)}: if that means that there is none, leave these cells empty.`);
}

// The mean over people, each brought to mean 0 and standard deviation 1; of one, as it is.
function averaged(people, n) {
  if (people.length === 1) return people[0];
  const sums = new Float64Array(n * n), counts = new Float64Array(n * n);
  for (const square of people) {
    const { mean, spread } = momentsOf(square, n);
    for (let c = 0; c < square.length; c++) {
      const v = spread > 0 ? (square[c] - mean) / spread : square[c] - mean;
      if (v === v) { sums[c] += v; counts[c]++; }
    }
  }
  return sums.map((v, c) => v / counts[c]);
}

// Of all pairs that have a value.
function momentsOf(square, n) {
  let m = 0, sum = 0, squares = 0;
  const pairs = each => { for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) { const v = square[i * n + j]; if (v === v) each(v); } };
  pairs(v => { m++; sum += v; });
  const mean = sum / m;
  pairs(v => { squares += (v - mean) ** 2; });
  return { m, mean, spread: Math.sqrt(squares / m) };
}

// The images' names, where they stand above a matrix's columns, before its rows, or both.
function matrixNames(above, before, name) {
  const given = [above, before].filter(names => names !== null), telling = given.filter(names => !areNumbers(names));
  const named = telling.length ? telling : given.slice(0, 1);
  if (!named.length) return null;
  if (!same(named[0], named.at(-1))) {
    const first = named[0].findIndex((one, i) => one !== named[1][i]);
    refuse(`the names above the columns of ${name} are not those before its rows: number ${first + 1} is ${repr(named[0][first])} and ${repr(named[1][first])}. Put both in one order.`);
  }
  checkDifferent(named[0], name);
  return named[0];
}

// An RDM of `n` images.
function checkRdm(square, size, n) {
  if (size !== n) refuse(`the RDM is of ${size} images; the embedding has ${n} images.`);
  const known = [];
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (square[i * n + j] === square[i * n + j]) known.push(square[i * n + j]);
  if (known.length < 3) refuse(`only ${known.length} pairs of the RDM are defined; three are needed.`);
  const [low, high] = ends(known);
  if (low === high) refuse("all values of the RDM are equal: there is no correlation.");
}
