// Output of jobs as it comes from one agent: to the store, no faster than the disk takes it.

import type { RefusalLog } from '../base/refusal-log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { decodeOutputChunk } from '../protocol/frame.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { AgentSession } from './fleet.ts';
import type { OutputStore } from './output.ts';
import type { ServerSocket } from './server-session.ts';

/** Output that waits for the disk: reading stops above the first and goes on below the second. */
const PAUSE_OUTPUT_BYTES = 4 * 1024 * 1024;
const RESUME_OUTPUT_BYTES = 1024 * 1024;
/** Acknowledged where output is not wanted any more: more than any stream has. */
const LET_GO_BYTES = Number.MAX_SAFE_INTEGER;

export interface OutputIntake {
  /** An output frame. Throws Fault LINK_FRAME_*. */
  take(agent: AgentSession, frame: Uint8Array): void;
  /** Nothing is read from the agent for now. */
  isPaused(): boolean;
}

export interface OutputIntakeParts {
  readonly socket: Pick<ServerSocket, 'pause' | 'resume'>;
  readonly dispatcher: Dispatcher;
  readonly output: OutputStore;
  readonly refusals: RefusalLog;
  readonly hit: SchedulerHit;
  readonly audit: AuditSink;
  /** The node may let go of what it still has of this attempt. */
  letGo(jobId: string, epoch: number, bytes: number): void;
}

export function createOutputIntake(parts: OutputIntakeParts): OutputIntake {
  const { socket, dispatcher } = parts;
  let pendingBytes = 0;
  let paused = false;
  return {
    take({ nodeId }, frame) {
      const { jobId, epoch, stream, offset, bytes } = decodeOutputChunk(frame);
      const limit = dispatcher.outputLimit(nodeId, jobId, epoch, stream);
      if (limit === null || offset + bytes.length > limit) {
        parts.refusals.refused(
          { nodeId, jobId, epoch, stream, offset },
          'output was refused: not of a job of this node, or beyond its end',
        );
        if (limit === null) parts.audit('access.denied', { what: 'output', nodeId, jobId, epoch });
        // The attempt has ended here with less than its node has, since nobody waited for it: the node may let it go.
        if (limit !== null) parts.letGo(jobId, epoch, LET_GO_BYTES);
        return;
      }
      parts.hit('output.received');
      pendingBytes += frame.length;
      if (pendingBytes > PAUSE_OUTPUT_BYTES && !paused) {
        paused = true;
        socket.pause();
      }
      parts.output.append(jobId, epoch, stream, offset, bytes, () => {
        pendingBytes -= frame.length;
        if (!paused || pendingBytes > RESUME_OUTPUT_BYTES) return;
        paused = false;
        socket.resume();
      });
    },
    isPaused: () => paused,
  };
}
