// Two agents with one key: a state directory that was copied, a snapshot that was restored, a key that was stolen. Each
// start of an agent counts one up on its state directory (`generation`) and makes up a name for itself (`instance`). So
//
//   the same run again         same generation, same instance: a connection was lost
//   a later start              higher generation: an agent that was started again, unless the run before still answers
//   twin                       same generation, another instance: two lines of starts from one directory
//   behind                     lower generation: a copy or a snapshot from before
//
// Who is behind, a twin, or later than a run that still answers is refused, and the node is marked: it takes no new jobs,
// and no other run than the one that was there, until an admin says that only one is left ("flopd node trust").
import type { Hello } from '../protocol/control.ts';
import type { NodeRecord } from './queue/queue.ts';

/** The run of an agent that was seen last, of those with the highest generation. */
export interface SeenRun {
  readonly generation: number;
  /** Null of an agent of protocol version 1, and where nobody was seen yet. */
  readonly instance: string | null;
  readonly bootId: string | null;
}

export type Run = 'same' | 'later' | 'twin' | 'behind';

export function decideRun(seen: SeenRun, hello: Pick<Hello, 'generation' | 'instance' | 'bootId'>): Run {
  if (hello.generation < seen.generation) return 'behind';
  if (hello.generation > seen.generation) return 'later';
  if (seen.instance !== null && hello.instance !== null)
    return seen.instance === hello.instance ? 'same' : 'twin';
  // One of the two does not name its run: a boot has no two agents of one generation.
  return seen.bootId === null || seen.bootId === hello.bootId ? 'same' : 'twin';
}

/** The run that the record of a node names. */
export function seenRun({ generation, instance, bootId }: NodeRecord): SeenRun {
  return { generation, instance: instance ?? null, bootId };
}

/** What an order remembers of the run that it was sent to. */
export function runName({
  instance,
  generation,
  bootId,
}: Pick<Hello, 'generation' | 'instance' | 'bootId'>): string {
  return instance ?? `start ${generation} of ${bootId}`;
}

/** Why a node is marked, for its sentence. */
export function describeClone(run: 'twin' | 'behind' | 'later', seen: SeenRun, generation: number): string {
  switch (run) {
    case 'behind':
      return `an agent with its key was started as number ${generation} after number ${seen.generation} had been seen: a copy of its state directory, or a snapshot that was restored`;
    case 'twin':
      return `two agents with its key were started as number ${generation}: its state directory was copied`;
    case 'later':
      return `a second agent with its key (start number ${generation}) came while the first still answers: its state directory was copied`;
  }
}

export const CLONE_REMEDY =
  'stop all agents with this key but one, then run "flopd node trust"; if the key may be in other hands, run "flopd node revoke"';
