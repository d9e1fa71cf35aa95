// What the vendors' tools print: every form that we have, and no number that does not stand in the text.
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { parseNvidiaText } from '../../../src/device/nvidia/text.ts';
import * as nvidiaTexts from '../../unit/device/nvidia/texts.ts';
import { fixture } from '../../unit/device/scripted-runner.ts';
import { ask, everything, type Form, forms, measuredOf, numbersOf } from '../../unit/device/tool-forms.ts';
import { bytesOf, insist, type Target, textOf } from '../target.ts';

function target(form: Form): Target {
  return {
    name: `vendor-${form.file.replace(/\W+/g, '-')}`,
    faults: /^DEVICE_/,
    seeds: () => [bytesOf(fixture(form.file))],
    read: (input) => ask(form, textOf(input)),
    check(made, input) {
      if (typeof made === 'string') return;
      const known = numbersOf(everything(form, textOf(input)));
      for (const reading of made as ToolReading[])
        for (const value of measuredOf(reading)) {
          insist(Number.isFinite(value), `the number ${value}`);
          insist(known.has(Math.abs(value)), `${value}, which does not stand in the text`);
        }
    },
    weight: 0.25,
  };
}

export const vendorTargets: readonly Target[] = [
  ...forms.map(target),
  {
    name: 'vendor-nvidia',
    faults: /^DEVICE_/,
    seeds: () => Object.values(nvidiaTexts).map(bytesOf),
    read: (input) => parseNvidiaText(textOf(input)),
    check(made, input) {
      const known = new Set([...numbersOf(textOf(input))].map((value) => value.toPrecision(12)));
      // Sums of counters do not stand there themselves.
      for (const { numbers } of made as ToolReading[])
        for (const [name, value] of Object.entries(numbers.values))
          if (typeof value === 'number' && !name.startsWith('ecc'))
            insist(
              known.has(Math.abs(value).toPrecision(12)),
              `${name} ${value}, which does not stand in the text`,
            );
    },
  },
];
