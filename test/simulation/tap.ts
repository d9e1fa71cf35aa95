// Reads off the wire what the history needs.
import type { JobResult } from '../../src/protocol/result.ts';
import type { FactBody } from '../campaign/history.ts';
import type { Wiretap } from './network.ts';

export function createTap(add: (who: string, fact: FactBody) => void): Wiretap {
  /** Attempts by connection and sequence. */
  const told = new Map<string, JobResult>();
  return {
    fromAgent(node: string, connection: number, text: string | null) {
      if (text === null || !text.startsWith('{"type":"jobResult"')) return;
      const { sequence, result } = JSON.parse(text);
      const { jobId, epoch } = result;
      told.set(`${connection}/${sequence}`, result);
      add(`agent ${node}`, { kind: 'resultTold', jobId, epoch, node, result });
    },
    fromScheduler(node: string, connection: number, text: string | null) {
      if (text === null) return;
      if (text.startsWith('{"type":"signedStart"')) {
        const { jobId, epoch } = JSON.parse(text);
        add('scheduler', { kind: 'orderSent', jobId, epoch, node });
      } else if (text.startsWith('{"type":"ack"')) {
        const result = told.get(`${connection}/${JSON.parse(text).sequence}`);
        if (result === undefined) return;
        const { jobId, epoch } = result;
        add('scheduler', { kind: 'resultAcknowledged', jobId, epoch, node, result });
      } else if (text.startsWith('{"type":"signedStop"')) {
        const { jobId, by } = JSON.parse(JSON.parse(text).signed.body);
        add('scheduler', { kind: 'cancelAsked', jobId, by });
      }
    },
  };
}
