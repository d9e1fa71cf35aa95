// What the house rules look at: the files of the project as git sees them, and the imports of a TypeScript file.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A file of the project: path below the root with `/`, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** Paths of all files that are, or would be, in the repository; without what git ignores or a change deletes. */
export function projectPaths(): readonly string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  return [...new Set(listed.split('\0'))]
    .filter((path) => path !== '' && existsSync(`${root}${path}`))
    .sort();
}

export function readSource(pattern: RegExp): readonly SourceFile[] {
  return projectPaths()
    .filter((path) => pattern.test(path))
    .map((path) => ({ path, text: readFileSync(`${root}${path}`, 'utf8') }));
}

/**
 * The text with every comment replaced by spaces, so that offsets and lines stay. Strings are kept. Good enough
 * for the code of this house: a regular expression literal is told from a division by what stands before it.
 */
export function withoutComments(text: string): string {
  const out = [...text];
  // Braces of `${` inside templates, so that the template goes on after the matching `}`.
  const templates: number[] = [];
  let depth = 0;
  let before = '';
  const blank = (from: number, to: number): void => {
    for (let i = from; i < to; i++) if (out[i] !== '\n') out[i] = ' ';
  };
  const skipString = (start: number, quote: string): number => {
    for (let i = start; i < text.length; i++) {
      if (text[i] === '\\') i += 1;
      else if (text[i] === quote) return i;
      else if (quote === '`' && text.startsWith('${', i)) {
        templates.push(depth);
        depth += 1;
        return i + 1;
      }
    }
    return text.length;
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i] ?? '';
    if (text.startsWith('//', i)) {
      const end = text.indexOf('\n', i);
      blank(i, end < 0 ? text.length : end);
      i = (end < 0 ? text.length : end) - 1;
    } else if (text.startsWith('/*', i)) {
      const end = text.indexOf('*/', i + 2);
      blank(i, end < 0 ? text.length : end + 2);
      i = (end < 0 ? text.length : end + 2) - 1;
    } else if (c === "'" || c === '"' || c === '`') {
      i = skipString(i + 1, c);
      before = c;
    } else if (c === '/' && !/[\w$)\]'"`}]/.test(before)) {
      i = endOfRegex(text, i + 1);
      before = '/';
    } else if (c === '{') {
      depth += 1;
      before = c;
    } else if (c === '}') {
      depth -= 1;
      before = c;
      if (templates.at(-1) === depth) {
        templates.pop();
        i = skipString(i + 1, '`');
      }
    } else if (!/\s/.test(c)) before = c;
  }
  return out.join('');
}

function endOfRegex(text: string, start: number): number {
  let inClass = false;
  for (let i = start; i < text.length && text[i] !== '\n'; i++) {
    if (text[i] === '\\') i += 1;
    else if (text[i] === '[') inClass = true;
    else if (text[i] === ']') inClass = false;
    else if (text[i] === '/' && !inClass) return i;
  }
  return start;
}

export interface Import {
  readonly specifier: string;
  /** `import type`, or every name marked with `type`: nothing of it is there at run time. */
  readonly typeOnly: boolean;
  /** `export … from`: the file hands another file's names on, some of them or all. */
  readonly reExport: 'none' | 'some' | 'all';
  readonly line: number;
}

const statement =
  /(?:^|[;}\n])[ \t]*(?<verb>import|export)(?<clause>\s+type\b|)(?<names>[^'"`;]*?)\bfrom\s*(?<q>['"])(?<from>[^'"]+)\k<q>/g;
const bare = /(?:^|[;}\n])[ \t]*import\s*(?<q>['"])(?<from>[^'"]+)\k<q>/g;
const dynamic = /\bimport\s*\(\s*(?<q>['"`])(?<from>[^'"`]+)\k<q>/g;

/** Every import and re-export of a TypeScript or JavaScript file, static and dynamic. */
export function importsOf(text: string): readonly Import[] {
  const code = withoutComments(text);
  const lineAt = (offset: number): number => code.slice(0, offset).split('\n').length;
  const found: Import[] = [];
  for (const match of code.matchAll(statement)) {
    const { verb, clause, names = '', from = '' } = match.groups ?? {};
    const list = /\{(?<inner>[\s\S]*)\}/.exec(names)?.groups?.inner;
    const everyNameIsType =
      list !== undefined &&
      !/^\s*[\w$]+\s*,/.test(names) &&
      list
        .split(',')
        .filter((name) => name.trim() !== '')
        .every((name) => /^\s*type\s/.test(name));
    found.push({
      specifier: from,
      typeOnly: clause !== '' || everyNameIsType,
      reExport: verb !== 'export' ? 'none' : names.includes('*') ? 'all' : 'some',
      line: lineAt(match.index + match[0].length),
    });
  }
  for (const pattern of [bare, dynamic]) {
    for (const match of code.matchAll(pattern)) {
      const from = match.groups?.from ?? '';
      found.push({
        specifier: from,
        typeOnly: false,
        reExport: 'none',
        line: lineAt(match.index + match[0].length),
      });
    }
  }
  return found;
}
