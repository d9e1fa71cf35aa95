// The two long forms of nvidia-smi (`-q -x` and `-q`) as one tree: names in lower case with `_`, in the order of the
// output. The text form nests by indentation.
import { layoutFault } from '../reading.ts';

export interface Entry {
  readonly key: string;
  /** Null for one that only holds others. */
  readonly value: string | null;
  readonly tree: Tree;
}

export type Tree = readonly Entry[];

const MAX_DEPTH = 24;

/** The value at the first of the paths that there is, or null. A path is `a.b.c`. */
export function textAt(tree: Tree, ...paths: readonly string[]): string | null {
  for (const path of paths) {
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    const value =
      keys.length === 0 ? find(tree, last)?.value : find(treeAt(tree, keys.join('.')), last)?.value;
    if (value !== undefined && value !== null) return value;
  }
  return null;
}

/** The entries below the first of the paths that there is. */
export function treeAt(tree: Tree, ...paths: readonly string[]): Tree {
  for (const path of paths) {
    let at: Tree | undefined = tree;
    for (const key of path.split('.')) at = at === undefined ? undefined : find(at, key)?.tree;
    if (at !== undefined) return at;
  }
  return [];
}

export function entriesAt(tree: Tree, key: string): Tree {
  return tree.filter((entry) => entry.key === key);
}

function find(tree: Tree, key: string): Entry | undefined {
  return tree.find((entry) => entry.key === key);
}

/** From what xml2js makes of the document: strings, objects, arrays of either, attributes under `$`. */
export function treeOfXml(value: unknown, depth = 0): Tree {
  if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return [];
  return Object.entries(value).flatMap(([key, child]): Entry[] => {
    if (key === '$' || key === '_')
      return typeof child === 'object' && child !== null
        ? Object.entries(child).map(([name, text]) => ({ key: `$${name}`, value: String(text), tree: [] }))
        : [];
    return (Array.isArray(child) ? child : [child]).map((one: unknown) => ({
      key: key.toLowerCase(),
      // What is empty keeps its line break.
      value: typeof one === 'string' ? one.trim() : null,
      tree: treeOfXml(one, depth + 1),
    }));
  });
}

interface Open {
  readonly indent: number;
  readonly tree: Entry[];
}

/** From the text of `nvidia-smi -q`. Lines that are deeper than one with a value stand beside it. */
export function treeOfText(text: string): Tree {
  const root: Entry[] = [];
  const open: Open[] = [{ indent: -1, tree: root }];
  for (const line of text.split('\n')) {
    const match = /^([\t ]*)(\S[^:]*?)\s*(?:: ?(.*))?$/.exec(line.replace(/\r$/, '').slice(0, 4096));
    if (match === null || /^=+/.test(match[2] ?? '')) continue;
    const [, space = '', name = '', rest] = match;
    const indent = space.replaceAll('\t', '    ').length;
    const gpu =
      indent === 0 ? /^GPU\s+([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])/.exec(line) : null;
    while ((open.at(-1)?.indent ?? -1) >= indent) open.pop();
    const parent = open.at(-1)?.tree ?? root;
    if (gpu !== null) {
      const tree: Entry[] = [{ key: '$id', value: gpu[1] ?? '', tree: [] }];
      parent.push({ key: 'gpu', value: null, tree });
      open.push({ indent, tree });
      continue;
    }
    const key = name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '_')
      .replace(/^_|_$/g, '');
    if (rest !== undefined) {
      parent.push({ key, value: rest.trim(), tree: [] });
      open.push({ indent, tree: parent });
      continue;
    }
    const tree: Entry[] = [];
    parent.push({ key, value: null, tree });
    if (open.length > MAX_DEPTH) throw layoutFault('nvidia-smi', text, 'nested too deep');
    open.push({ indent, tree });
  }
  return root;
}
