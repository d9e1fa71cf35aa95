import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { nowhere, type Place } from '../../../src/protocol/place.ts';
import { createDataRules, type DataRules } from '../../../src/scheduler/data-rules.ts';
import { demandOf, type PlacementNode } from '../../../src/scheduler/demand.ts';
import { createPlacement, type Placement } from '../../../src/scheduler/placement.ts';
import { jobRecord } from './records.ts';

const NOW_MS = Date.parse('2026-11-28T00:00:00Z');
const DAY_MS = 86_400_000;
const at = (jurisdiction: string | null, city: string | null = null): Place => ({
  ...nowhere,
  jurisdiction,
  city,
});
const node = (id: string, place: Place, classes = ['public', 'internal', 'personal']): PlacementNode => ({
  id,
  name: id,
  cpuHundredths: 400,
  memoryBytes: 2 ** 32,
  executors: ['process'],
  devices: [],
  available: true,
  drained: null,
  place,
  dataClasses: classes,
});
const crossing = {
  class: 'personal',
  origin: 'CN-GD',
  originCity: 'Shenzhen',
  allowed: ['CN-GD', 'HK'],
  filing: { number: '17', expiresAt: '2026-11-30' },
};

function bed(here: Place, ...nodes: PlacementNode[]) {
  let wallMs = NOW_MS;
  const audited: unknown[] = [];
  const rules: DataRules = createDataRules({
    place: here,
    clock: { wallMs: () => wallMs } as never,
    audit: (kind, facts) => audited.push([kind, facts]),
  });
  const placement: Placement = createPlacement();
  for (const one of nodes) placement.setNode(one);
  return {
    rules,
    placement,
    audited,
    later: (ms: number) => (wallMs += ms),
    add(id: string, data: object | null) {
      const { spec } = jobRecord({}, data === null ? {} : { data });
      placement.add({
        id,
        priority: 0,
        sequence: 1,
        demand: { ...demandOf(spec), data: rules.demand(spec) },
      });
    },
  };
}

describe('placement of jobs with data', () => {
  it('gives a job only to a node that may have its data', () => {
    const { placement, add } = bed(
      at('CN-GD'),
      node('node-a', nowhere),
      node('node-b', at('SG')),
      node('node-c', at('HK'), ['public']),
      node('node-d', at('HK')),
    );
    for (const id of ['job-1', 'job-2']) add(id, crossing);
    expect(placement.decide().map(({ nodeId }) => nodeId)).toEqual(['node-d', 'node-d']);
  });

  it('leaves a job that states nothing where it was', () => {
    const { placement, add } = bed(nowhere, node('node-a', nowhere, []));
    add('job-1', null);
    expect(placement.decide()).toHaveLength(1);
  });

  it('says why nobody may have it, with a count for each reason and one in full', () => {
    const { placement, add } = bed(
      at('CN-GD'),
      node('node-a', nowhere),
      node('node-b', nowhere),
      node('node-c', at('SG')),
      node('node-d', at('CN-GD'), ['public']),
    );
    add('job-1', crossing);
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-1')).toBe(
      'waiting: no node may have personal data of CN-GD: 2 nodes have no jurisdiction, 1 node stands outside of data.allowed, 1 node takes no data of this class; node-a: this place has no jurisdiction, and personal data of CN-GD is computed only where one is known; enrol the node with a token that has one ("flopd scheduler token create --jurisdiction …")',
    );
    placement.setNode(node('node-e', at('HK')));
    expect(placement.decide()).toMatchObject([{ nodeId: 'node-e' }]);
  });

  it('names what else is missing where only the nodes that may have it are too small', () => {
    const { placement, add } = bed(at('HK'), node('node-a', at('SG')), {
      ...node('node-b', at('HK')),
      cpuHundredths: 50,
    });
    add('job-1', { class: 'internal', origin: 'HK' });
    expect(placement.reason('job-1')).toBe('waiting: needs 1 CPU, the largest connected node has 0.5');
  });

  it('places nothing any more when a filing has expired meanwhile', () => {
    const { placement, add, later } = bed(at('CN-GD'), node('node-a', at('HK')));
    for (const id of ['job-1', 'job-2']) add(id, crossing);
    placement.hold('job-x', 'node-a', { ...demandOf(jobRecord().spec), cpuHundredths: 300 }, []);
    expect(placement.decide()).toHaveLength(1);
    later(3 * DAY_MS);
    placement.release('job-x');
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-2')).toContain('17 expired on 2026-11-30');
  });

  it('gives a node that refused the data no such job until it has come back', () => {
    const { rules, placement, add } = bed(at('HK'), node('node-a', at('HK')));
    const data = { class: 'internal', origin: 'HK' };
    const refusal = { code: 'DATA_CLASS_NOT_TAKEN', message: 'this node takes no internal data' };
    rules.refused('node-a', jobRecord({}, { data }).spec, refusal);
    add('job-1', data);
    add('job-2', { ...data, class: 'public' });
    expect(placement.decide()).toMatchObject([{ jobId: 'job-2' }]);
    expect(placement.reason('job-1')).toContain('node-a: it refused: this node takes no internal data');
    rules.forget('node-a');
    placement.setNode({ ...node('node-a', at('HK')), available: false });
    placement.setNode(node('node-a', at('HK')));
    expect(placement.decide()).toMatchObject([{ jobId: 'job-1' }]);
  });
});

describe('the scheduler itself', () => {
  const refusal = (rules: DataRules, data: object): Fault => {
    try {
      rules.requireKept(jobRecord({}, { data }).spec);
    } catch (error) {
      return error as Fault;
    }
    throw new Error('nothing was refused');
  };

  it('refuses what its output may not bring here, with the remedy, and writes it down', () => {
    const { rules, audited } = bed(nowhere);
    const fault = refusal(rules, { class: 'internal', origin: 'HK' });
    expect(fault).toBeInstanceOf(Fault);
    expect(fault).toMatchObject({ code: 'DATA_PLACE_MISSING', field: 'data' });
    expect(fault.message).toContain('its operator sets place.jurisdiction');
    expect(audited).toEqual([
      ['policy.refused', { by: 'scheduler', code: 'DATA_PLACE_MISSING', class: 'internal', origin: 'HK' }],
    ]);
    expect(refusal(bed(at('SG')).rules, { class: 'internal', origin: 'HK' }).code).toBe(
      'DATA_PLACE_NOT_ALLOWED',
    );
    expect(refusal(bed(at('HK')).rules, { ...crossing, filing: null }).code).toBe('DATA_FILING_MISSING');
  });

  it('takes what may lie here, also data of its own place that is computed elsewhere', () => {
    const { rules } = bed(at('HK'));
    rules.requireKept(jobRecord({}, { data: { class: 'internal', origin: 'HK', allowed: ['SG'] } }).spec);
    rules.requireKept(jobRecord({}, { data: crossing }).spec);
    rules.requireKept(jobRecord().spec);
  });

  it('gives no node a job whose output it may not keep', () => {
    const { placement, add } = bed(at('SG'), node('node-a', at('HK')));
    add('job-1', { class: 'internal', origin: 'HK' });
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-1')).toContain('this scheduler keeps the output');
  });

  it('tells by which rule a job is where it is, as of its start', () => {
    const { rules, later } = bed(at('CN-GD'));
    const job = jobRecord({ nodeId: 'node-a', startedAtMs: NOW_MS }, { data: crossing });
    later(30 * DAY_MS);
    expect(rules.ruleOf(job, at('HK'))).toContain('through the corridor gba-standard-contract, filing 17');
    expect(rules.ruleOf(jobRecord({ nodeId: 'node-a' }), at('HK'))).toBeNull();
    expect(rules.ruleOf(jobRecord({}, { data: crossing }), at('HK'))).toBeNull();
  });
});
