// Lines of `label : value`, as `npu-smi info -t …` and `info -l` print them: a heading about the NPU, then a block per
// chip. The number of the chip stands at the start of its block or at its end, depending on the form and the version,
// and the board's controller (MCU) has a block of its own, which is left out.
import { layoutFault } from '../reading.ts';
import { countOf, wordsOf } from '../tool-text.ts';
import type { ProcessRow } from './table.ts';

export interface FieldBlock {
  /** Null where the block does not say. */
  readonly npu: number | null;
  readonly chip: number | null;
  /** Values by label, as printed. */
  readonly fields: ReadonlyMap<string, string>;
  /** Of `-t proc-mem`; null where the block says nothing about processes. */
  readonly processes: readonly Omit<ProcessRow, 'npu' | 'chip'>[] | null;
}

/** At least one of them stands in every form. */
const known = ['NPU ID', 'Chip ID', 'Total Count', 'Health Status', 'Health'];

const MAX_LINES = 20_000;
const MAX_WIDTH = 2000;

export function parseFields(tool: string, text: string): FieldBlock[] {
  const refuse = (detail: string) => layoutFault(tool, text, detail);
  // A last line without its end may be a number that was cut.
  if (!text.endsWith('\n')) throw refuse('its last line has no end');
  const lines = text.split('\n');
  if (lines.length > MAX_LINES) throw refuse('too many lines');
  const blocks: FieldBlock[] = [];
  let npu: number | null = null;
  let open: string[] = [];
  const close = (): void => {
    if (open.length === 0) return;
    const block = readBlock(open, refuse);
    open = [];
    npu = block.npu ?? npu;
    // The board's controller: its numbers are not the chip's.
    if (/^mcu$/i.test(block.fields.get('Chip Name') ?? '')) return;
    if (block.chip !== null && blocks.some((other) => other.npu === npu && other.chip === block.chip))
      throw refuse(`chip ${block.chip} stands there twice`);
    blocks.push({ ...block, npu });
  };
  for (const line of lines) {
    if (line.length > MAX_WIDTH) throw refuse('a line is too long');
    if (line.trim() === '') close();
    else open.push(line.trim());
  }
  close();
  if (!blocks.some(({ fields, processes }) => processes !== null || known.some((label) => fields.has(label))))
    throw refuse('no field of it is known');
  return blocks;
}

function readBlock(lines: readonly string[], refuse: (detail: string) => Error): FieldBlock {
  const fields = new Map<string, string>();
  let processes: Omit<ProcessRow, 'npu' | 'chip'>[] | null = null;
  for (const line of lines) {
    if (/^No process in device/.test(line)) {
      processes ??= [];
      continue;
    }
    const process = /^Process id:\s*(\d{1,9})\s+Process name:(.*?)Process memory\(MB\):\s*(\S+)$/.exec(line);
    if (process !== null) {
      processes ??= [];
      processes.push({
        pid: Number(process[1]),
        name: wordsOf(process[2], 256),
        memory: process[3] ?? '',
      });
      continue;
    }
    const field = /^([A-Za-z][^:]{0,60}?)\s*:(?:\s+(.*))?$/.exec(line);
    if (field === null) throw refuse(`the line "${wordsOf(line, 40) ?? ''}"`);
    const label = field[1] ?? '';
    if (fields.has(label)) throw refuse(`${wordsOf(label, 40) ?? ''} stands there twice`);
    fields.set(label, field[2] ?? '');
  }
  return { npu: countOf(fields.get('NPU ID')), chip: countOf(fields.get('Chip ID')), fields, processes };
}

/** The block of one chip; where none says which chip it is of, the only one. */
export function blockOf(blocks: readonly FieldBlock[], npu: number, chip: number): FieldBlock | null {
  const named = blocks.find(
    (each) => each.chip === chip && (each.npu === null || each.npu === npu) && each.fields.size > 1,
  );
  if (named !== undefined) return named;
  const [only] = blocks;
  const isOnly = blocks.length === 1 && only?.chip === null && (only.npu === null || only.npu === npu);
  return isOnly ? (only ?? null) : null;
}
