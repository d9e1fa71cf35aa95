// The published form of the contract: JSON Schema (draft 2020-12) of what users and other programs write and read,
// produced from the very schemas that check it. What JSON Schema cannot say (a command that is too long in total,
// a NUL within a text) is checked all the same.
import * as z from 'zod';
import { enrolRequestSchema } from './api.ts';
import { agentMessageSchema, inventorySchema, schedulerMessageSchema } from './control.ts';
import { devicesDocumentSchema } from './devices-document.ts';
import { jobResultSchema } from './result.ts';
import { jobSpecSchema } from './spec.ts';
import { PROTOCOL_VERSION } from './version.ts';

export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * All published schemas by name: `job-spec` (as a user writes it: what has a default may be left out),
 * `job-result`, `inventory`, `devices` (what `flopd devices -o json` prints), `enrol-request`, and `agent.<type>` and `scheduler.<type>` for each control message.
 */
export function jsonSchemas(): Readonly<Record<string, JsonSchema>> {
  const schemas: Record<string, JsonSchema> = {
    'job-spec': publish('job-spec', jobSpecSchema, 'input'),
    'job-result': publish('job-result', jobResultSchema, 'output'),
    inventory: publish('inventory', inventorySchema, 'output'),
    devices: publish('devices', devicesDocumentSchema, 'output'),
    'enrol-request': publish('enrol-request', enrolRequestSchema, 'input'),
  };
  for (const [side, union] of [
    ['agent', agentMessageSchema],
    ['scheduler', schedulerMessageSchema],
  ] as const) {
    for (const message of union.options) {
      const name = `${side}.${message.shape.type.value}`;
      schemas[name] = publish(name, message, 'input');
    }
  }
  return schemas;
}

function publish(name: string, schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'throw',
    override({ jsonSchema }) {
      if (jsonSchema.pattern !== undefined) jsonSchema.pattern = portable(jsonSchema.pattern);
    },
  });
  // Messages change with the protocol; documents say themselves which version of them it is.
  const version = name.includes('.') ? PROTOCOL_VERSION : 1;
  return { $schema, $id: `urn:flopd:v${version}:${name}`, title: `flopd ${name}`, ...rest };
}

/** Unicode classes as ranges: many validators compile patterns without the `u` flag that the classes need. */
function portable(pattern: string): string {
  return (
    pattern
      // Wider than letters and digits: what is none of them is refused all the same.
      .replaceAll('\\p{L}\\p{N}', '0-9A-Za-z\\u00aa-\\uffff')
      .replaceAll('\\p{Cc}', '\\u0000-\\u001f\\u007f-\\u009f')
      .replaceAll('\\p{Zl}', '\\u2028')
      .replaceAll('\\p{Zp}', '\\u2029')
  );
}
