// Who writes certificates for the scheduler: a child process (src/bin/certificate-issuer.ts) that ends when the work is
// done. The library for it would keep 13 MB resident in the scheduler for a few certificates a quarter, and hold up every
// session while it is loaded. Keys go there and back over the channel between the two; never in arguments or files.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Fault } from '../../base/fault.ts';
import { crossSign, makeAuthority, makeLeaf, type Pair } from './certificate.ts';

/** What certificate.ts does. A promise rejects with TLS_ISSUER_FAILED where the child cannot. */
export interface Issuer {
  readonly makeAuthority: typeof makeAuthority;
  readonly crossSign: typeof crossSign;
  readonly makeLeaf: typeof makeLeaf;
}

/** Does work that takes an issuer, and ends the issuer after it. */
export type WithIssuer = <T>(work: (issuer: Issuer) => Promise<T>) => Promise<T>;

export type IssuerQuestion = {
  readonly [Verb in keyof Issuer]: { readonly verb: Verb; readonly given: Parameters<Issuer[Verb]> };
}[keyof Issuer];
export type IssuerAnswer = { readonly made: Pair | string } | { readonly failed: string };

/** For one piece of work, from the start of the process. */
const DEADLINE_MS = 30_000;

const local: Issuer = { makeAuthority, crossSign, makeLeaf };

/** `script`: the built src/bin/certificate-issuer.ts; null does the work in this process. */
export function createIssuing(script: URL | null): WithIssuer {
  if (script === null) return (work) => work(local);
  return async (work) => {
    const child = fork(fileURLToPath(script), [], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
    try {
      return await work(issuerOver(child));
    } finally {
      clearTimeout(deadline);
      child.kill('SIGKILL');
      await ended;
    }
  };
}

function issuerOver(child: ChildProcess): Issuer {
  let waiting: ((answer: IssuerAnswer) => void) | null = null;
  let gone: string | null = null;
  const started = new Promise<void>((resolve) => {
    const lose = (why: string): void => {
      gone ??= why;
      waiting?.({ failed: gone });
      resolve();
    };
    child.once('spawn', () => resolve());
    child.on('error', ({ message }) => lose(message));
    child.on('exit', (code, signal) => lose(`its process ended (${signal ?? code})`));
  });
  child.on('message', (answer: IssuerAnswer) => waiting?.(answer));

  async function ask(question: IssuerQuestion): Promise<Pair | string> {
    await started;
    const answer = await new Promise<IssuerAnswer>((resolve) => {
      waiting = resolve;
      if (gone === null) child.send(question);
      else resolve({ failed: gone });
    });
    waiting = null;
    if ('made' in answer) return answer.made;
    throw new Fault('TLS_ISSUER_FAILED', `no certificate could be made: ${answer.failed}`, {
      remedy:
        'see that this machine has memory and processes left; a running scheduler tries it again by itself',
    });
  }

  return {
    makeAuthority: async (...given) => (await ask({ verb: 'makeAuthority', given })) as Pair,
    crossSign: async (...given) => (await ask({ verb: 'crossSign', given })) as string,
    makeLeaf: async (...given) => (await ask({ verb: 'makeLeaf', given })) as Pair,
  };
}

/** The child's side. Errors go back by name alone: the library's words might quote a key. */
export async function answerQuestion(question: IssuerQuestion): Promise<IssuerAnswer> {
  try {
    switch (question.verb) {
      case 'makeAuthority':
        return { made: await makeAuthority(...question.given) };
      case 'crossSign':
        return { made: await crossSign(...question.given) };
      case 'makeLeaf':
        return { made: await makeLeaf(...question.given) };
    }
  } catch (error) {
    const { name, code } = error as Partial<NodeJS.ErrnoException>;
    return { failed: code ?? name ?? 'an unknown error' };
  }
}
