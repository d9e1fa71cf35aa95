import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { readSpec } from '../../../src/cli/job-options.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';

const environment = { HERE: 'value', EMPTY: '' };
const read = (flags: object) => readSpec(['sh', '-c', 'x'], { env: [], ...flags }, { environment });

describe('the specification that the flags ask for', () => {
  it('leaves to the scheduler what was not asked for', () => {
    expect(jobSpecSchema.parse(read({}))).toMatchObject({
      command: ['sh', '-c', 'x'],
      timeLimitMs: null,
      graceMs: 10_000,
      priority: 0,
      resources: { cpus: 1, memoryBytes: null, accelerators: null },
    });
  });

  it('takes the network away and limits the output where that is asked', () => {
    expect(read({ network: 'none', outputQuota: '1MiB' })).toMatchObject({
      network: 'none',
      outputQuotaBytes: 1024 ** 2,
    });
    for (const flags of [{ network: 'bridge' }, { outputQuota: '10' }, { processes: '0' }, { diskRead: '5' }])
      expect(() => read(flags)).toThrow(Fault);
  });

  it('says what the data is, and what its egress means for the network', () => {
    const spec = read({
      dataClass: 'personal',
      dataOrigin: 'CN-GD/Shenzhen',
      dataAllowed: 'CN-GD,HK',
      dataFiling: 'GBA:2026:17:2027-03-31',
      dataEgress: 'none',
    });
    expect(jobSpecSchema.parse(spec)).toMatchObject({
      network: 'none',
      data: {
        class: 'personal',
        origin: 'CN-GD',
        originCity: 'Shenzhen',
        allowed: ['CN-GD', 'HK'],
        filing: { number: 'GBA:2026:17', expiresAt: '2027-03-31' },
        egress: 'none',
      },
    });
    expect(read({})).not.toHaveProperty('data');
    const least = { dataClass: 'personal', dataOrigin: 'HK' };
    for (const flags of [
      { dataClass: 'personal' },
      { dataOrigin: 'HK' },
      { dataEgress: 'none' },
      { ...least, dataClass: 'Personal' },
      { ...least, dataOrigin: 'hk' },
      { ...least, dataOrigin: 'CN-HK' },
      { ...least, dataOrigin: 'HK/' },
      { ...least, dataAllowed: 'HK,' },
      { ...least, dataFiling: '17' },
    ])
      expect(() => read(flags)).toThrow(Fault);
  });

  it('takes values of the environment by name, keeps = in values, and the last of two wins', () => {
    const spec = read({ env: ['HERE', 'EMPTY', 'A=', 'B=x=y', 'B=2'] });
    expect(spec.environment).toEqual({ HERE: 'value', EMPTY: '', A: '', B: '2' });
  });

  it('carries names like __proto__ as plain names', () => {
    const spec = read({ env: ['__proto__=1', 'constructor=2'] });
    expect(Object.entries(spec.environment ?? {})).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ]);
  });

  it.each([
    [{ accelerators: '2' }, { accelerators: { count: 2, match: null } }],
    [{ accelerators: '8:H200' }, { accelerators: { count: 8, match: 'H200' } }],
    [{ accelerators: '2:ascend:910B3' }, { accelerators: { count: 2, match: 'ascend:910B3' } }],
    [
      {
        accelerators: '1',
        acceleratorMemory: '40G',
        acceleratorPartition: '1g.10gb',
        acceleratorShare: true,
      },
      {
        accelerators: {
          count: 1,
          match: null,
          memoryBytes: 40 * 1024 ** 3,
          partition: '1g.10gb',
          shared: true,
        },
      },
    ],
    [
      { cpus: '0.5', memory: '1GiB' },
      { cpus: 0.5, memoryBytes: 1024 ** 3 },
    ],
    [
      { processes: '100', diskRead: '1MiB', diskWrite: '2MiB' },
      { processes: 100, diskReadBytesPerSecond: 1024 ** 2, diskWriteBytesPerSecond: 2 * 1024 ** 2 },
    ],
  ])('reads %j', (flags, resources) => {
    expect(read(flags).resources).toEqual(resources);
  });

  it.each([
    [{ accelerators: 'H200' }, '--accelerators'],
    [{ accelerators: '1025' }, '--accelerators'],
    [{ accelerators: '1:' }, '--accelerators'],
    [{ accelerators: '1::' }, '--accelerators'],
    [{ accelerators: '0' }, '--accelerators'],
    [{ acceleratorMemory: '40G' }, '--accelerator-memory: no accelerators are asked for'],
    [{ acceleratorPartition: 'any' }, '--accelerator-partition: no accelerators are asked for'],
    [{ acceleratorShare: true }, '--accelerator-share: no accelerators are asked for'],
    [{ accelerators: '1', acceleratorMemory: '40' }, '--accelerator-memory'],
    [{ accelerators: '1', acceleratorMemory: 'much' }, '--accelerator-memory'],
    [{ accelerators: '1', acceleratorPartition: '' }, '--accelerator-partition'],
    [{ priority: '1.5' }, '--priority'],
    [{ priority: '1001' }, '--priority'],
    [{ timeLimit: '0s' }, '--time-limit'],
    [{ timeLimit: '400d' }, '--time-limit'],
    [{ env: ['MISSING'] }, '--env'],
    [{ cpus: '-1' }, '--cpus'],
  ])('refuses %j as wrong usage that names %s', (flags, flag) => {
    const attempt = (): unknown => read(flags);
    expect(attempt).toThrow(Fault);
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(flag) }),
    );
  });
});
