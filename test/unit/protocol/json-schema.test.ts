import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { agentMessageSchema, schedulerMessageSchema } from '../../../src/protocol/control.ts';
import { deviceViews } from '../../../src/protocol/device-view.ts';
import { hostView } from '../../../src/protocol/host.ts';
import type { JsonSchema } from '../../../src/protocol/json-schema.ts';
import { jsonSchemas } from '../../../src/protocol/json-schema.ts';
import { jobResultSchema } from '../../../src/protocol/result.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import { FLEET_MS, sampleFleet, withPartition } from '../../fakes/fleet.ts';
import { inventory, messages, result, spec } from './messages.ts';
import { column, makeWindow } from './windows.ts';

/** As `flopd devices -o json` prints it, with a partition and absent numbers. */
const fleet = withPartition(
  sampleFleet('2xH100', { values: { '1/accelerator.powerWatts': 'denied' } }),
  0,
  '1g.10gb',
);
const devicesDocument = {
  host: {
    ...hostView(makeWindow([column('cpu.busyRatio'), column('disk.readBytesTotal{vda}')], [0.5, 1])),
    inventory: {
      hostname: 'a',
      kernel: '6.1',
      architecture: 'x64',
      cpuModel: null,
      cpuThreads: 2,
      memoryBytes: 1,
      usableCpus: 2,
      usableMemoryBytes: 1,
    },
  },
  backends: { some: 'simulated', other: null },
  devices: deviceViews(fleet.records, fleet.window, FLEET_MS),
};

const schemas = jsonSchemas();
/** A validator that knows the published schema alone. */
const validator = (schema: JsonSchema | undefined) =>
  z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]);

const recorded = Object.entries({
  'job-spec': spec,
  'job-result': result,
  inventory,
  devices: devicesDocument,
  'enrol-request': { version: 1, token: 't', publicKey: 'cHVi', name: 'node' },
  ...messages,
});

describe('the published JSON Schemas', () => {
  it('cover every control message of both sides, and nothing else has a recorded example', () => {
    const sides = [['agent', agentMessageSchema] as const, ['scheduler', schedulerMessageSchema] as const];
    const types = sides.flatMap(([side, union]) =>
      union.options.map((each) => `${side}.${each.shape.type.value}`),
    );
    expect(Object.keys(schemas).sort()).toEqual(
      ['devices', 'enrol-request', 'inventory', 'job-result', 'job-spec', ...types].sort(),
    );
    expect(recorded.map(([name]) => name).sort()).toEqual(Object.keys(schemas).sort());
  });

  it.each(recorded)('accept a recorded %s, as the schema in use does', (name, example) => {
    expect(validator(schemas[name]).safeParse(example).error).toBeUndefined();
    if (name.startsWith('agent.')) expect(agentMessageSchema.safeParse(example).error).toBeUndefined();
    if (name.startsWith('scheduler.'))
      expect(schedulerMessageSchema.safeParse(example).error).toBeUndefined();
  });

  it.each(recorded)('refuse a %s with one property too many or one too few', (name, example) => {
    const check = validator(schemas[name]);
    expect(check.safeParse({ ...example, surprise: 1 }).success).toBe(false);
    const [, ...rest] = Object.entries(example);
    if (name.includes('.')) expect(check.safeParse(Object.fromEntries(rest)).success).toBe(false);
  });

  it.each(recorded)('close every object of %s', (name) => {
    const open: string[] = [];
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      if ('properties' in node && !('additionalProperties' in node && node.additionalProperties === false))
        open.push(path);
      for (const [key, child] of Object.entries(node)) walk(child, `${path}/${key}`);
    };
    walk(schemas[name], name);
    expect(open).toEqual([]);
  });

  it('have examples that the schemas in use accept too', () => {
    expect(jobSpecSchema.safeParse(spec).error).toBeUndefined();
    expect(jobResultSchema.safeParse(result).error).toBeUndefined();
  });

  it('refuse control characters in names without the help of a flag', () => {
    const named = (name: string) => validator(schemas['job-spec']).safeParse({ ...spec, name }).success;
    expect([named('a\u0007'), named('a\u2028b'), named('a\u0085b'), named('数据 🚀')]).toEqual([
      false,
      false,
      false,
      true,
    ]);
    expect(JSON.stringify(schemas)).not.toContain('\\p{');
  });

  it('say of a device that an absent number is null with a reason, and that nothing may be left out', () => {
    const check = validator(schemas.devices);
    const [first, second] = devicesDocument.devices;
    expect([second?.powerWatts, second?.absent.powerWatts]).toEqual([null, 'denied']);
    expect(first?.partitions).toHaveLength(1);
    const { powerWatts, ...without } = first ?? { powerWatts: null };
    expect(check.safeParse({ ...devicesDocument, devices: [without] }).success).toBe(false);
    const odd = { ...first, partitions: [{ ...first?.partitions[0], health: 'splendid' }] };
    expect(check.safeParse({ ...devicesDocument, devices: [odd] }).success).toBe(false);
    expect(powerWatts).toBeGreaterThan(0);
  });

  it('let a user leave out what has a default, and say what they are', () => {
    expect(validator(schemas['job-spec']).safeParse({ version: 1, command: ['true'] }).success).toBe(true);
    expect(schemas['job-spec']).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: 'urn:flopd:v1:job-spec',
    });
    expect(JSON.parse(JSON.stringify(schemas))).toEqual(schemas);
  });
});
