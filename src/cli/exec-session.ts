// The client's end of a command beside a job: one WebSocket with the scheduler, its credit in both directions, and
// streams at this end (protocol/exec.ts has the conversation). Knows nothing of terminals.
import type { Readable } from 'node:stream';
import { WebSocket } from 'ws';
import { Fault } from '../base/fault.ts';
import {
  EXEC_INPUT_WINDOW_BYTES,
  EXEC_SUBPROTOCOL,
  type ExecClientMessage,
  type ExecEnd,
  type ExecRequest,
  execPieces,
  execServerMessageSchema,
} from '../protocol/exec.ts';
import { lost, refusalOf, unreachable } from './client.ts';
import type { Access } from './endpoint.ts';

const HANDSHAKE_DEADLINE_MS = 10_000;
/** The scheduler asks for a sign every 15 s; a connection over which nothing comes for so long is dead. */
const SILENCE_DEADLINE_MS = 45_000;
const MAX_FRAME_BYTES = 256 * 1024;

export interface ExecSessionOptions {
  readonly access: Access;
  readonly jobId: string;
  readonly request: ExecRequest;
  /** What the command gets as its standard input; null: nothing. */
  readonly stdin: Readable | null;
  /** Takes output; its promise resolves when there is room for more. */
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void>;
  /** Called once, with what can be said to the command from then on. */
  opened(controls: ExecControls): void;
}

export interface ExecControls {
  resize(rows: number, columns: number): void;
  signal(signal: number): void;
  /** Leaves; the command is ended. */
  leave(): void;
}

/**
 * Resolves with how the command ended. Rejects with the scheduler's fault where it was refused, with SCHEDULER_LOST
 * when the connection broke, or with what `output` threw.
 */
export function runExec(options: ExecSessionOptions): Promise<ExecEnd> {
  const { access, jobId, request, stdin } = options;
  const url = new URL(`/v1/jobs/${encodeURIComponent(jobId)}/exec`, access.url);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(url, EXEC_SUBPROTOCOL, {
    headers: { authorization: `Bearer ${access.token}` },
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handshakeTimeout: HANDSHAKE_DEADLINE_MS,
    followRedirects: false,
    ...access.dialer.options(access.url),
  });
  return new Promise<ExecEnd>((resolve, reject) => {
    let end: ExecEnd | null = null;
    let failure: unknown = null;
    let creditBytes = EXEC_INPUT_WINDOW_BYTES;
    /** Output is given on in order; the end waits for it. */
    let giving: Promise<void> = Promise.resolve();
    let silence: NodeJS.Timeout | null = null;

    const say = (message: ExecClientMessage): void => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    };

    function fail(error: unknown): void {
      failure ??= error;
      socket.terminate();
    }

    function heard(): void {
      if (silence !== null) clearTimeout(silence);
      silence = setTimeout(() => fail(lost(access, new Error('silent'))), SILENCE_DEADLINE_MS);
    }

    function pumpInput(): void {
      if (stdin === null || socket.readyState !== WebSocket.OPEN) return;
      while (creditBytes > 0) {
        const bytes = stdin.read(Math.min(creditBytes, stdin.readableLength)) as Buffer | null;
        if (bytes === null) return;
        creditBytes -= bytes.length;
        for (const piece of execPieces(bytes)) socket.send(piece);
      }
    }

    function give(stream: 'stdout' | 'stderr', bytes: Uint8Array): void {
      giving = giving.then(async () => {
        if (failure !== null) return;
        await options.output(stream, bytes);
        say({ type: 'credit', bytes: bytes.length });
      });
      giving.catch(fail);
    }

    function take(text: string): void {
      const parsed = execServerMessageSchema.safeParse(JSON.parse(text));
      if (!parsed.success) throw new Error('a message that does not fit');
      if (parsed.data.type === 'credit') {
        creditBytes += parsed.data.bytes;
        pumpInput();
      } else if (parsed.data.type === 'end') {
        const { type: _, ...how } = parsed.data;
        end = how;
      }
    }

    socket.on('open', () => {
      heard();
      say(request);
      if (stdin === null) socket.send(new Uint8Array(0));
      else {
        stdin.on('readable', pumpInput);
        stdin.on('end', () => {
          if (socket.readyState === WebSocket.OPEN) socket.send(new Uint8Array(0));
        });
        stdin.on('error', () => socket.readyState === WebSocket.OPEN && socket.send(new Uint8Array(0)));
        pumpInput();
      }
      options.opened({
        resize: (rows, columns) => say({ type: 'resize', rows, columns }),
        signal: (signal) => say({ type: 'signal', signal }),
        leave: () => socket.close(),
      });
    });
    socket.on('ping', heard);
    socket.on('message', (data, isBinary) => {
      heard();
      const bytes = data as Buffer;
      try {
        if (!isBinary) take(bytes.toString());
        else if (bytes[0] === 1 || bytes[0] === 2)
          give(bytes[0] === 1 ? 'stdout' : 'stderr', bytes.subarray(1));
      } catch (cause) {
        fail(new Fault('SCHEDULER_STRANGE', `${access.url} sent what is no message of an exec`, { cause }));
      }
    });
    socket.on('unexpected-response', (outgoing, response) => {
      refusalOf(access, response)
        .then(fail, fail)
        .finally(() => outgoing.destroy());
    });
    socket.on('error', (error) => {
      failure ??=
        socket.readyState === WebSocket.CONNECTING ? unreachable(access, error) : lost(access, error);
    });
    socket.on('close', (_code, reason) => {
      if (silence !== null) clearTimeout(silence);
      stdin?.off('readable', pumpInput);
      void giving
        .catch(() => {})
        .then(() => {
          if (failure !== null) reject(failure);
          else if (end !== null) resolve(end);
          else reject(lost(access, new Error(reason.toString() || 'closed')));
        });
    });
  });
}
