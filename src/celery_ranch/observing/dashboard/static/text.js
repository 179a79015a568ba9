// How figures and keys are written: as the command line writes them.

const NOTHING = "–";
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
const HIDDEN = /\p{C}|(?! )\p{Z}/gu;

/** What cannot be seen, or would act, written out. */
export function visible(text) {
  return String(text).replace(HIDDEN, (one) => {
    const code = one.codePointAt(0);
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
    return `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** A key as people see it and can give it back: acme/alice, with \/ for a slash in a part. */
export function writtenKey(path) {
  return path.map((part) => visible(part.replace(/[/\\]/g, "\\$&"))
    .replace(/^ /, "\\x20").replace(/ $/, "\\x20")).join("/");
}

const PIECE = /(\/)|\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\([^a-zA-Z0-9])|([^/\\]+)/suy;

/** The key that somebody wrote; null where it is not written as keys are. */
export function readKey(text) {
  const parts = [""];
  PIECE.lastIndex = 0;
  while (PIECE.lastIndex < text.length) {
    const piece = PIECE.exec(text);
    if (piece === null) return null;
    const [, split, x, u, U, self, plain] = piece;
    if (split) {
      parts.push("");
      continue;
    }
    const code = x ?? u ?? U;
    if (code !== undefined && parseInt(code, 16) > 0x10ffff) return null;
    parts[parts.length - 1] += code === undefined
      ? self ?? plain : String.fromCodePoint(parseInt(code, 16));
  }
  return parts.every(Boolean) ? parts : null;
}

/** A text, cut in its middle where it is long. */
export function cut(text, most = 40) {
  const signs = [...text];
  if (signs.length <= most) return text;
  const end = Math.floor(most / 3);
  return `${signs.slice(0, most - end - 1).join("")}…${signs.slice(-end).join("")}`;
}

export function count(value) {
  return value == null ? NOTHING : value.toLocaleString("en");
}

export function number(value) {
  if (value == null) return NOTHING;
  if (value === "inf") return "no limit";
  if (Math.abs(value) >= 1000 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

export function seconds(value) {
  if (value == null) return NOTHING;
  for (const [size, unit] of UNITS) {
    if (Math.abs(value) >= size) {
      const figure = value / size;
      return `${figure >= 10 ? Math.round(figure) : Number(figure.toPrecision(2))} ${unit}`;
    }
  }
  return value === 0 ? "0 s" : "<1 ms";
}

export function ago(value) {
  return value == null ? NOTHING : `${seconds(Math.max(0, value))} ago`;
}

export function perSecond(value) {
  if (value == null) return NOTHING;
  return value > 0 && value < 0.5 ? `${number(value * 60)}/min` : `${number(value)}/s`;
}

export function part(value) {
  if (value == null) return NOTHING;
  const percent = value * 100;
  return `${value > 0 && value < 0.01 ? percent.toFixed(1) : Math.round(percent)} %`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString();
}

export function moment(at) {
  return new Date(at * 1000).toLocaleString();
}
