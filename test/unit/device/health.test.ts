import { describe, expect, it } from 'vitest';
import type { Finding } from '../../../src/device/accelerator.ts';
import { createLadder, healthFor, type LadderState } from '../../../src/device/health.ts';
import { createFakeClock } from '../telemetry/fake-clock.ts';

const RETEST_MS = 60_000;
const finding = (code: string, rung: Finding['rung']): Finding => ({
  code,
  rung,
  text: `${code}: see to it`,
});
const remap = finding('row-remap-pending', 'warn');
const contained = finding('xid-94', 'noNewJobs');
const doubleBit = finding('xid-48', 'stopJobs');
const offBus = finding('xid-79', 'resetNeeded');

function bed(saved: LadderState | null = null, bootId = 'boot-1') {
  const clock = createFakeClock();
  return { clock, ladder: createLadder({ clock, retestMs: RETEST_MS, bootId, saved }) };
}

describe('the ladder', () => {
  it('holds a condition while it is reported and for the re-test after it', () => {
    const { clock, ladder } = bed();
    ladder.observe('a', [remap], true);
    expect(ladder.of('a')).toMatchObject({ rung: 'warn', faults: [{ active: true, count: 1 }] });
    clock.advance(10 * RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('warn');
    ladder.observe('a', [], true);
    expect(ladder.of('a')).toMatchObject({ rung: 'warn', faults: [{ active: false }] });
    clock.advance(RETEST_MS - 1);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('warn');
    clock.advance(1);
    ladder.tick();
    expect(ladder.of('a')).toEqual({ rung: 'ok', faults: [], cordon: null });
    expect(ladder.of('b').rung).toBe('ok');
  });

  it('takes the worst of what stands, and lists it first', () => {
    const { ladder } = bed();
    ladder.observe('a', [remap, contained], true);
    ladder.happened('a', doubleBit, 1);
    expect(ladder.of('a').rung).toBe('stopJobs');
    expect(ladder.of('a').faults.map(({ code }) => code)).toEqual(['xid-48', 'xid-94', 'row-remap-pending']);
  });

  it('starts the re-test anew when the event comes again or the device cannot be read', () => {
    const { clock, ladder } = bed();
    ladder.happened('a', contained, 3);
    ladder.observe('a', [], true);
    clock.advance(RETEST_MS - 1);
    ladder.happened('a', contained, 4);
    ladder.observe('a', [], true);
    expect(ladder.of('a').faults).toMatchObject([{ count: 7 }]);
    clock.advance(RETEST_MS - 1);
    ladder.observe('a', [], false);
    clock.advance(RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('noNewJobs');
    ladder.observe('a', [], true);
    clock.advance(RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('ok');
  });

  it('keeps what stood while a device cannot be read', () => {
    const { clock, ladder } = bed();
    ladder.observe('a', [remap], true);
    ladder.observe('a', [finding('device-late', 'noNewJobs')], false);
    clock.advance(2 * RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').faults).toMatchObject([
      { code: 'device-late', active: true },
      { code: 'row-remap-pending', active: true },
    ]);
  });

  it('holds an event that needs a reset until there was one', () => {
    const { clock, ladder } = bed();
    ladder.happened('a', offBus, 1);
    ladder.observe('a', [], true);
    clock.advance(100 * RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('resetNeeded');
    ladder.wasReset('a');
    ladder.observe('a', [], true);
    clock.advance(RETEST_MS);
    ladder.tick();
    expect(ladder.of('a').rung).toBe('ok');
  });

  it('cordons a device that falls three times within an hour, and lets it go by itself', () => {
    const { clock, ladder } = bed();
    for (let fall = 1; fall <= 3; fall += 1) {
      expect(ladder.of('a').cordon).toBeNull();
      ladder.happened('a', contained, 100);
      ladder.happened('a', contained, 100);
      ladder.observe('a', [], true);
      clock.advance(RETEST_MS);
      ladder.tick();
    }
    const { cordon, rung } = ladder.of('a');
    expect(rung).toBe('ok');
    expect(cordon).toMatchObject({ by: 'health', reason: 'unfit 3 times within an hour, last for xid-94' });
    clock.advance(3_600_000);
    ladder.tick();
    expect(ladder.of('a').cordon).toBeNull();
  });

  it('does not count falls that lie further apart, nor mild faults', () => {
    const { clock, ladder } = bed();
    for (let fall = 1; fall <= 5; fall += 1) {
      ladder.happened('a', contained, 1);
      ladder.happened('b', remap, 1);
      for (const id of ['a', 'b']) ladder.observe(id, [], true);
      clock.advance(1_900_000);
      ladder.tick();
    }
    expect([ladder.of('a').cordon, ladder.of('b').cordon]).toEqual([null, null]);
  });

  it('remembers over a restart, and takes a boot for a reset', () => {
    const first = bed();
    first.ladder.happened('a', offBus, 1);
    first.ladder.observe('b', [contained], true);
    const saved = JSON.parse(JSON.stringify(first.ladder.state())) as LadderState;

    const again = bed(saved);
    again.ladder.observe('a', [], true);
    again.ladder.observe('b', [], true);
    again.clock.advance(RETEST_MS);
    again.ladder.tick();
    expect([again.ladder.of('a').rung, again.ladder.of('b').rung]).toEqual(['resetNeeded', 'ok']);

    const booted = bed(saved, 'boot-2');
    expect(booted.ladder.of('a').rung).toBe('resetNeeded');
    booted.ladder.observe('a', [], true);
    booted.clock.advance(RETEST_MS);
    booted.ladder.tick();
    expect(booted.ladder.of('a').rung).toBe('ok');
    expect(booted.ladder.state().devices).toMatchObject({ a: { faults: [] } });
  });

  it('keeps the worst of more faults than anybody reads', () => {
    const { ladder } = bed();
    ladder.happened('a', doubleBit, 1);
    for (let each = 0; each < 1000; each += 1)
      ladder.happened('a', finding(`xid-${each + 100}`, 'observe'), 1);
    expect(ladder.of('a').faults).toHaveLength(64);
    expect(ladder.of('a').rung).toBe('stopJobs');
  });

  it('changes its revision exactly when an answer changes', () => {
    const { ladder } = bed();
    ladder.observe('a', [remap], true);
    const revision = ladder.revision();
    ladder.observe('a', [remap], true);
    ladder.observe('b', [], true);
    expect(ladder.revision()).toBe(revision);
    ladder.observe('a', [{ ...remap, rung: 'noNewJobs' }], true);
    expect(ladder.revision()).toBeGreaterThan(revision);
  });
});

describe('the health of a rung', () => {
  it.each([
    ['ok', true, 'ok'],
    ['ok', false, 'unknown'],
    ['observe', true, 'ok'],
    ['warn', false, 'degraded'],
    ['noNewJobs', true, 'degraded'],
    ['stopJobs', true, 'failed'],
    ['resetNeeded', false, 'failed'],
    ['replace', true, 'failed'],
  ] as const)('%s, known %s: %s', (rung, isKnown, expected) => {
    expect(healthFor(rung, isKnown)).toBe(expected);
  });
});
