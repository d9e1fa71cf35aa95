// Names that flopd makes up: 50 random bits in Crockford's base 32 without look-alike letters, after a word that
// says what they name, e.g. `job-7k3m9q2x4t`. Short enough to read out, unique enough for one network; whoever
// stores them checks for the collision.
import { randomUUID } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export function createId(
  kind: 'arr' | 'job' | 'node' | 'order' | 'session' | 'scheduler' | 'exec' | 'token' | 'instance',
): string {
  // Node draws the bytes of many UUIDs at once. The first four and the last six bytes of one are all random.
  const uuid = randomUUID();
  let text = '';
  for (const byte of Buffer.from(uuid.slice(0, 8) + uuid.slice(24), 'hex')) text += ALPHABET[byte & 31];
  return `${kind}-${text}`;
}

/** Fewest letters of an id, behind its word, that may stand for the whole: fewer could be a slip of the finger. */
const MIN_START = 4;

/** Whether a text may name an id by its beginning: `job-7k3m`, not `job-7`. `word` is what the ids begin with. */
export function isIdStart(word: 'arr' | 'job' | 'node', text: string): boolean {
  if (!text.startsWith(`${word}-`)) return false;
  const letters = text.slice(word.length + 1);
  return letters.length >= MIN_START && /^[0-9a-z]+$/.test(letters);
}
