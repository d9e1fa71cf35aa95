// Names of the jobs of an array. The array `arr-7k3m9q2x4t` has the jobs `job-7k3m9q2x4ti0`, `job-7k3m9q2x4ti1` …:
// `i` is no letter of an id (base/id.ts), so that the array and the index can be read from the job's id, and all jobs
// of an array are those whose id has the same start. People write `arr-7k3m9q2x4t.1` or `arr-7k3m9q2x4t[1]`.

const ARRAY_ID = /^arr-[0-9a-hjkmnp-tv-z]{10}$/;
const MEMBER_NAME = /^(arr-[0-9a-z]{1,32})(?:\.(\d{1,7})|\[(\d{1,7})\])$/;

export function isArrayId(text: string): boolean {
  return ARRAY_ID.test(text);
}

/** Whether somebody means an array, or the start of its id, and not one of its jobs. */
export function namesArray(text: string): boolean {
  return /^arr-[0-9a-z]*$/.test(text);
}

/** What the ids of all jobs of an array start with. */
export function memberPrefix(arrayId: string): string {
  return `job-${arrayId.slice(4)}i`;
}

export function memberId(arrayId: string, index: number): string {
  return `${memberPrefix(arrayId)}${index}`;
}

/** How people read the name of a job of an array. */
export function memberName(arrayId: string, index: number | string): string {
  return `${arrayId}[${index}]`;
}

/** What `arr-ID.3` and `arr-ID[3]` mean; null for any other text. */
export function parseMemberName(text: string): { readonly arrayId: string; readonly index: number } | null {
  const match = MEMBER_NAME.exec(text);
  const index = match?.[2] ?? match?.[3];
  if (match?.[1] === undefined || index === undefined) return null;
  return { arrayId: match[1], index: Number(index) };
}

/** `0-9,12,40-41` of ascending numbers; empty for none. */
export function formatIndices(indices: Iterable<number>): string {
  const ranges: string[] = [];
  let from: number | null = null;
  let to = 0;
  const close = (): void => {
    if (from !== null) ranges.push(from === to ? `${from}` : `${from}-${to}`);
  };
  for (const index of indices) {
    if (from === null || index !== to + 1) {
      close();
      from = index;
    }
    to = index;
  }
  close();
  return ranges.join(',');
}

/** The numbers of `0-9,12`, at most `limit` of them; null when the text is not such a list or has more. */
export function parseIndices(text: string, limit: number): readonly number[] | null {
  const indices: number[] = [];
  if (text === '') return indices;
  for (const range of text.split(',')) {
    const match = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(range);
    if (match === null) return null;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (to < from || indices.length + to - from + 1 > limit) return null;
    for (let index = from; index <= to; index += 1) indices.push(index);
  }
  return indices;
}
