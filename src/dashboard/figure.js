// Numbers and words as people read them.

export const words = (name) => name.toLowerCase().replaceAll('_', ' ');
export const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

export function scaled(value, step, unit) {
  const prefixes = step === 1024 ? ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'] : ['', 'k', 'M', 'G', 'T', 'P', 'E'];
  let at = 0;
  let figure = value;
  while (figure >= step && at < prefixes.length - 1) {
    figure /= step;
    at += 1;
  }
  const digits = at === 0 ? (Number.isInteger(figure) ? 0 : 1) : figure < 10 ? 2 : figure < 100 ? 1 : 0;
  return `${figure.toFixed(digits)} ${prefixes[at]}${unit}`;
}

export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(value % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
