// What people write by hand: values of the configuration, indices; and what a terminal is given.
import { createFollowReader } from '../../../src/cli/follow-record.ts';
import { createTerminalFilter } from '../../../src/cli/terminal-filter.ts';
import { configKeyNames, configKeys } from '../../../src/config/keys.ts';
import { ValueProblem } from '../../../src/config/value.ts';
import { formatIndices, parseIndices } from '../../../src/protocol/array.ts';
import { bytesOf, insist, jsonOf, type Target, textOf } from '../target.ts';

const ESCAPE = String.fromCharCode(27);
const COLOUR = /^\[[0-9;:]*m/;

const context = { folder: '/', environment: {} };

interface AnyKey {
  parse(value: unknown, context: object): unknown;
  format(value: unknown): string;
}

/** As the command line hands it in, and as a file does. */
function readValue(name: (typeof configKeyNames)[number], given: unknown): unknown {
  const key = configKeys[name] as unknown as AnyKey;
  try {
    return { name, written: key.format(key.parse(given, context)) };
  } catch (error) {
    if (error instanceof ValueProblem) return null;
    throw error;
  }
}

const follow = (kind: number, payload: string): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = kind;
  head.writeUInt32BE(Buffer.byteLength(payload), 1);
  return Buffer.concat([head, Buffer.from(payload)]);
};

export const wordTargets: readonly Target[] = [
  {
    name: 'config-value',
    faults: /^never$/,
    seeds: () =>
      [...new Set(configKeyNames.map((name) => configKeys[name].example))].flatMap((example) => [
        bytesOf(example),
        jsonOf({ a: example }),
      ]),
    read(input) {
      const text = textOf(input);
      let plain: unknown;
      try {
        plain = JSON.parse(text);
      } catch {
        plain = text;
      }
      return configKeyNames.flatMap((name) => [readValue(name, text), readValue(name, plain)]);
    },
    check(made) {
      for (const one of made as ({ name: (typeof configKeyNames)[number]; written: string } | null)[]) {
        if (one === null || one.written === '') continue;
        const again = readValue(one.name, one.written) as { written: string } | null;
        insist(again?.written === one.written, `${one.name}: ${one.written} is read as ${again?.written}`);
      }
    },
  },
  {
    name: 'indices',
    faults: /^never$/,
    seeds: () => ['0-9,12', '7', '3,1,2', '0-999'].map(bytesOf),
    read: (input) => parseIndices(textOf(input), 1000),
    check(made) {
      if (made === null) return;
      const indices = made as readonly number[];
      insist(
        indices.length <= 1000 && indices.every((one) => Number.isSafeInteger(one) && one >= 0),
        'wrong indices',
      );
      insist(
        JSON.stringify(parseIndices(formatIndices(indices), 1000)) === JSON.stringify(indices) ||
          new Set(indices).size !== indices.length ||
          !isSorted(indices),
        'they are read otherwise the second time',
      );
    },
  },
  {
    name: 'follow-record',
    faults: /^FOLLOW_RECORD_INVALID$/,
    seeds: () => [
      Buffer.concat([
        follow(0, '{"id":"job-a"}'),
        follow(1, 'out'),
        follow(3, ''),
        follow(4, '{"stream":"stdout"}'),
      ]),
    ],
    read(input) {
      const reader = createFollowReader();
      const half = input.length >> 1;
      return [...reader.push(input.subarray(0, half)), ...reader.push(input.subarray(half))];
    },
  },
  {
    name: 'terminal',
    faults: /^never$/,
    seeds: () => ['plain\n', '\u001b[31mred\u001b[0m', '\u001b]0;title\u0007', '漢字\r50%\r'].map(bytesOf),
    read(input) {
      const filter = createTerminalFilter();
      const half = input.length >> 1;
      return [filter.push(input.subarray(0, half)), filter.push(input.subarray(half)), filter.end()].join('');
    },
    check(made) {
      // Colours alone are obeyed.
      const [first = '', ...rest] = (made as string).split(ESCAPE);
      const left = first + rest.map((part) => part.replace(COLOUR, '')).join('');
      insist(
        rest.every((part) => COLOUR.test(part)),
        'an escape is let through',
      );
      // Tab, line feed, carriage return and backspace do no harm.
      insist(!/\p{Cc}/u.test(left.replaceAll(/[\t\n\r\b]/g, '')), 'a control character is let through');
    },
  },
];

function isSorted(indices: readonly number[]): boolean {
  return indices.every((one, place) => place === 0 || one > (indices[place - 1] ?? 0));
}
