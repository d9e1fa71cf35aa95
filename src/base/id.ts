// Names that flopd makes up: 50 random bits in Crockford's base 32 without look-alike letters, after a word that
// says what they name, e.g. `job-7k3m9q2x4t`. Short enough to read out, unique enough for one network; whoever
// stores them checks for the collision.
import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export function createId(kind: 'job' | 'node' | 'order' | 'session' | 'scheduler'): string {
  let text = '';
  for (const byte of randomBytes(10)) text += ALPHABET[byte & 31];
  return `${kind}-${text}`;
}
