// Small text files of which only the content matters, not why there is none.
import { readFileSync } from 'node:fs';

/** The whole file as UTF-8; null where it cannot be read for whatever reason. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
