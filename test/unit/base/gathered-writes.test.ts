import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { gatherWrites } from '../../../src/base/gathered-writes.ts';
import { nextTurn } from '../../../src/base/turns.ts';

/** Notes what comes with each call that a socket would make of it. */
function fakeChannel() {
  const calls: string[][] = [];
  const channel = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      calls.push([chunk.toString()]);
      done();
    },
    writev(chunks, done) {
      calls.push(chunks.map(({ chunk }) => chunk.toString()));
      done();
    },
  });
  return { channel, calls };
}

describe('gathered writes', () => {
  it('passes on what is written in one turn with one call, in order', async () => {
    const { channel, calls } = fakeChannel();
    const gather = gatherWrites(channel);
    for (const text of ['a', 'b', 'c']) {
      gather();
      channel.write(text);
    }
    expect(calls).toEqual([]);
    await nextTurn();
    expect(calls).toEqual([['a', 'b', 'c']]);
    gather();
    channel.write('d');
    await nextTurn();
    expect(calls.flat()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('holds back no more than its bound', () => {
    const { channel, calls } = fakeChannel();
    const gather = gatherWrites(channel);
    const long = 'x'.repeat(200 * 1024);
    for (let at = 0; at < 4; at += 1) {
      gather();
      channel.write(long);
    }
    expect(calls.flat().length).toBeGreaterThan(0);
    expect(channel.writableLength).toBeLessThan(600 * 1024);
  });

  it('loses nothing to an end in the same turn, and survives a channel that is destroyed', async () => {
    const { channel, calls } = fakeChannel();
    gatherWrites(channel)();
    channel.write('last');
    channel.end();
    await nextTurn();
    await nextTurn();
    expect(calls.flat()).toEqual(['last']);
    const dead = fakeChannel();
    const gather = gatherWrites(dead.channel);
    gather();
    dead.channel.destroy();
    await nextTurn();
    gather();
    await nextTurn();
    expect(dead.calls).toEqual([]);
  });
});
