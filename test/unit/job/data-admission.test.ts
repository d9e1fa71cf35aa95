import { describe, expect, it } from 'vitest';
import { refuseData, refuseEgress } from '../../../src/job/data-admission.ts';
import { builtInCorridors } from '../../../src/protocol/corridor.ts';
import type { DataClass } from '../../../src/protocol/jurisdiction.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';

const spec = (data: object | null, more: object = {}) =>
  jobSpecSchema.parse({ version: 1, command: ['true'], ...(data === null ? {} : { data }), ...more });
const rules = (jurisdiction: string | null, ...classes: DataClass[]) => ({
  place: { ...nowhere, jurisdiction },
  classes,
  corridors: builtInCorridors,
});
const nowMs = Date.parse('2026-11-28T00:00:00Z');

describe('data at a node', () => {
  it('lets in a job that states nothing, whatever the node is', () => {
    expect(refuseData(spec(null), null, nowMs)).toBeNull();
    expect(refuseData(spec(null), rules(null), nowMs)).toBeNull();
  });

  it('goes by the place of the node and by the classes that its operator takes', () => {
    const personal = spec({ class: 'personal', origin: 'HK' });
    expect(refuseData(personal, rules('HK', 'personal'), nowMs)).toBeNull();
    expect(refuseData(personal, rules('HK', 'public', 'internal'), nowMs)?.code).toBe('DATA_CLASS_NOT_TAKEN');
    expect(refuseData(personal, rules(null, 'personal'), nowMs)?.code).toBe('DATA_PLACE_MISSING');
    expect(refuseData(personal, rules('CN-GD', 'personal'), nowMs)?.code).toBe('DATA_PLACE_NOT_ALLOWED');
    expect(refuseData(personal, null, nowMs)?.code).toBe('DATA_PLACE_MISSING');
  });

  it('takes no job without egress where nothing holds it', () => {
    const data = { class: 'internal', origin: 'HK', egress: 'none' };
    const held = spec(data, { network: 'none' });
    expect(refuseEgress(held, null)).toBeNull();
    expect(refuseEgress(held, undefined)?.code).toBe('DATA_EGRESS_UNHELD');
    expect(refuseEgress(held, { code: 'JOB_NETWORK_WALL_MISSING', message: 'no bubblewrap' })).toEqual({
      code: 'DATA_EGRESS_UNHELD',
      message: 'data.egress is none, and this node does not hold it: no bubblewrap',
    });
    // No schema lets this through; an order is looked at all the same.
    expect(refuseEgress({ ...held, network: 'host' }, null)?.code).toBe('DATA_EGRESS_OPEN');
    expect(refuseEgress(spec(null), undefined)).toBeNull();
  });
});
