// Whose jobs may run here, where the operator of the node names them: a file of public keys, one a line, with a comment
// behind each. What is not in it may not; a file that cannot be read lets nobody in.
import { readFileSync, statSync } from 'node:fs';
import { describeError, Fault } from '../base/fault.ts';
import { type SignedStart, submissionText } from '../protocol/order.ts';
import { digestOf, isSignedBy, keyIdOf, publicKeySchema, readPublicKey } from '../protocol/signed.ts';

export interface Submitters {
  /** Throws a Fault ORDER_SUBMITTER unless somebody in the file signed this specification for this scheduler. */
  require(order: SignedStart, schedulerId: string): void;
}

const MAX_FILE_BYTES = 1024 * 1024;

export function createSubmitters(path: string): Submitters {
  let keys: ReadonlySet<string> = new Set();
  let stamp = '';

  /** As the file is now. */
  function look(): void {
    const { ino, mtimeNs, size } = statSync(path, { bigint: true });
    const now = `${ino} ${mtimeNs} ${size}`;
    if (now === stamp) return;
    if (size > MAX_FILE_BYTES) throw new Error(`it is longer than ${MAX_FILE_BYTES} bytes`);
    keys = new Set(parseSubmitters(readFileSync(path, 'utf8')));
    stamp = now;
  }

  return {
    require({ spec, submission }, schedulerId) {
      try {
        look();
      } catch (error) {
        throw refusal(
          `the file of those who may submit to this node cannot be read (${describeError(error)})`,
        );
      }
      if (submission === null)
        throw refusal(
          'this node takes only jobs that their submitter has signed',
          'run "flopd login", then submit it again',
        );
      const { publicKey, signedAtMs, signature } = submission;
      if (!keys.has(publicKey))
        throw refusal(
          `the submitter's key ${keyIdOf(publicKey)} is not one of those that may submit to this node`,
          `have the operator of the node add it to ${path}`,
        );
      const key = readPublicKey(publicKey);
      const text = submissionText(schedulerId, signedAtMs, digestOf(spec) ?? '');
      if (key === null || !isSignedBy(key, 'flopd.v2 job', text, signature))
        throw refusal("the submitter's signature does not fit the job");
    },
  };
}

/** Keys in the text: `KEY comment` a line; empty lines and those that begin with # say nothing. Throws for any other. */
export function parseSubmitters(text: string): string[] {
  const keys: string[] = [];
  for (const [at, line] of text.split('\n').entries()) {
    const [key = ''] = line.trim().split(/\s+/);
    if (key === '' || key.startsWith('#')) continue;
    if (!publicKeySchema.safeParse(key).success || readPublicKey(key) === null)
      throw new Error(`line ${at + 1} is not an Ed25519 public key (DER in base64) and a comment`);
    keys.push(key);
  }
  return keys;
}

function refusal(message: string, remedy?: string): Fault {
  return new Fault('ORDER_SUBMITTER', message, remedy === undefined ? {} : { remedy });
}
