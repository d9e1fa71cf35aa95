// One connection between agent and runner, whichever end this is: frames in and out, a bound on what waits to be
// written, and one end.
import type { Socket } from 'node:net';
import { describeError, isFault } from '../base/fault.ts';
import { createFrameReader, decodeBody, encodeFrame, type Incoming } from './framing.ts';

/** What may wait for a peer that does not read; beyond it the connection ends, and what counts is told to the next. */
export const MAX_RUNNER_UNSENT_BYTES = 48 * 1024 * 1024;

export interface Channel {
  /** A message (JSON), or a frame made by framing.ts. Does nothing after the end. */
  send(message: object): void;
  sendFrame(frame: Uint8Array): void;
  /** True while the peer keeps up: facts that may be lost are only sent then. */
  hasRoom(): boolean;
  /** Resolves when there is room, or the end of it. */
  roomy(): Promise<void>;
  isOpen(): boolean;
  /** `why` is for the log of this side. */
  close(why: string): void;
  /** Stops reading frames and hands over the socket as it is. */
  detach(): Socket;
}

export interface ChannelEvents {
  incoming(incoming: Incoming): void;
  /** Once; nothing is told afterwards. `code`: of the fault that ended it, or null. */
  ended(why: string, code: string | null): void;
}

const ROOM_BYTES = 4 * 1024 * 1024;

export function createChannel(socket: Socket, events: ChannelEvents): Channel {
  let state: 'open' | 'detached' | 'ended' = 'open';
  const reader = createFrameReader((body) => {
    if (state === 'open') events.incoming(decodeBody(body));
  });

  function end(why: string, code: string | null): void {
    if (state !== 'open') return;
    state = 'ended';
    socket.destroy();
    events.ended(why, code);
  }

  const onData = (chunk: Uint8Array): void => {
    try {
      reader.push(chunk);
    } catch (error) {
      if (!isFault(error)) throw error;
      end(`${error.message}${error.field === null ? '' : ` (at ${error.field})`}`, error.code);
    }
  };
  const onError = (error: Error): void => end(describeError(error), null);
  const onClose = (): void => end('the connection was closed', null);
  socket.on('data', onData).on('error', onError).on('close', onClose);

  function sendFrame(frame: Uint8Array): void {
    if (state !== 'open') return;
    if (socket.writableLength > MAX_RUNNER_UNSENT_BYTES)
      end('the peer does not read what is sent to it', 'RUNNER_UNREAD');
    else socket.write(frame);
  }

  return {
    send(message) {
      sendFrame(encodeFrame(JSON.stringify(message)));
    },
    sendFrame,
    async roomy() {
      while (state === 'open' && socket.writableLength >= ROOM_BYTES)
        await new Promise<void>((resolve) => {
          const done = (): void => {
            socket.off('drain', done).off('close', done);
            resolve();
          };
          socket.on('drain', done).on('close', done);
        });
    },
    hasRoom: () => state === 'open' && socket.writableLength < ROOM_BYTES,
    isOpen: () => state === 'open',
    close: (why) => end(why, null),
    detach() {
      state = 'detached';
      socket.off('data', onData).off('error', onError).off('close', onClose);
      return socket;
    },
  };
}
