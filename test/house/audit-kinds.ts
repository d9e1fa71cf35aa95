// Kinds of audit records (protocol/audit.ts) against the calls that write them: each kind is written somewhere, and nothing
// else is.
import { readFileSync } from 'node:fs';

/** Kinds that stand as texts in the source of these files, but for the list itself. */
export function writtenKinds(kinds: readonly string[], files: readonly string[]): ReadonlySet<string> {
  const written = new Set<string>();
  for (const file of files) {
    const text = readFileSync(file, 'utf8');
    for (const kind of kinds) {
      const [room, verb] = kind.split('.');
      // As a text, or made of a word and its verb: audit(`node.${what}`).
      if (text.includes(`'${kind}'`)) written.add(kind);
      if (text.includes(`audit(\`${room}.\${`) && text.includes(`'${verb}'`)) written.add(kind);
    }
  }
  return written;
}
