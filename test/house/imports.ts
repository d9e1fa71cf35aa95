// The import rules as a function from files and table to what is wrong with them.
import { posix } from 'node:path';
import type { RoomRule } from './rooms.ts';
import { type Import, importsOf, type SourceFile } from './source.ts';

/** Room of a path below src/: its first folder, or the name of a file that stands there alone; else null. */
export function roomOf(path: string): string | null {
  return /^src\/(?:(?<folder>[^/]+)\/|(?<file>[^/]+)\.ts$)/.exec(path)?.slice(1).find(Boolean) ?? null;
}

/** Name of the package in a bare specifier: `zod/v4` is `zod`, `@a/b/c` is `@a/b`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/**
 * A file may hand on names of one file that was split from it, in its own room; a list of everything, names of another
 * room, or of several files make a barrel.
 */
function isBarrel(
  reExport: Import['reExport'],
  room: string,
  path: string,
  specifier: string,
  all: readonly Import[],
): boolean {
  if (reExport === 'none') return false;
  const ownRoom = specifier.startsWith('.') && roomOf(posix.join(posix.dirname(path), specifier)) === room;
  return reExport === 'all' || !ownRoom || all.filter((each) => each.reExport !== 'none').length > 1;
}

/** One sentence per import that the table does not allow. */
export function findImportFaults(
  files: readonly SourceFile[],
  table: Readonly<Record<string, RoomRule>>,
): readonly string[] {
  const faults: string[] = [];
  for (const file of files) {
    const room = roomOf(file.path);
    if (room === null) continue;
    const rule = table[room];
    if (rule === undefined) {
      faults.push(`${file.path}: src/${room} is not in the table of rooms (test/house/rooms.ts)`);
      continue;
    }
    const imports = importsOf(file.text);
    for (const { specifier, typeOnly, reExport, line } of imports) {
      const tell = (text: string): number => faults.push(`${file.path}:${line}: ${text}`);
      if (isBarrel(reExport, room, file.path, specifier, imports))
        tell(`hands on names of ${specifier}: no barrels, import it where it is used`);
      if (specifier.startsWith('node:')) {
        if (rule.node !== undefined && !typeOnly && !rule.node.includes(specifier))
          tell(`${room} does no I/O and may not use ${specifier}`);
      } else if (specifier.startsWith('.')) {
        const target = posix.join(posix.dirname(file.path), specifier);
        const other = roomOf(target);
        if (!/\.(?:ts|json)$/.test(specifier)) tell(`${specifier}: name the file with its extension .ts`);
        if (other === null) tell(`${specifier} lies outside src/`);
        else if (other !== room && !rule.uses.includes(other) && !(typeOnly && rule.types.includes(other)))
          tell(
            rule.types.includes(other)
              ? `${room} may use only types of ${other}: import type`
              : `${room} may not import ${other} (${specifier})`,
          );
      } else if (!rule.packages.includes(packageOf(specifier))) {
        tell(`${room} may not use the package ${packageOf(specifier)}`);
      }
    }
  }
  return faults;
}
