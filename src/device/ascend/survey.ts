// Asks npu-smi for as much as fits into a query's time. `info` comes first and must answer; what the `-t` forms add is
// asked chip by chip, going on where the last query stopped, so that every chip has its turn however slow the tool is.
//
// Kept between queries: what does not change (ids, boards, map, topology), and counters and clocks until they have not
// been confirmed for KEPT_QUERIES queries; shares of time are never kept. A form that a version refuses is not asked
// again until the chips or the driver are others.
import { isFault } from '../../base/fault.ts';
import type { ToolRunner } from '../accelerator.ts';
import { layoutFault } from '../reading.ts';
import { askText } from '../tool-text.ts';
import { blockOf, type FieldBlock } from './fields.ts';
import type { ChipPlace, Topology, Vnpu } from './lists.ts';
import { type NpuSmiOutput, parseNpuSmi, TOOL } from './npu-smi.ts';
import type { ChipRow, ChipTable } from './table.ts';

const KEPT_QUERIES = 20;
/** A further call is not begun with less than this left. */
const LEAST_MS = 100;

/** So often in a row a form must fail until it counts as one that this version does not have. */
const REFUSALS = 3;

/** Forms of `info -t`, in the order in which they are asked; `once`: does not change. */
const forms = [
  { name: 'board', isOfChip: true, once: true },
  { name: 'usages', isOfChip: false, once: false },
  { name: 'common', isOfChip: false, once: false },
  { name: 'ecc', isOfChip: false, once: false },
  { name: 'memory', isOfChip: false, once: false },
  { name: 'proc-mem', isOfChip: false, once: false },
] as const;
type Form = (typeof forms)[number]['name'] | 'health' | 'product';

/** What one chip's forms told, and how many queries ago. */
export interface Answer {
  readonly block: FieldBlock;
  readonly age: number;
}

export interface ChipDetails {
  readonly answers: ReadonlyMap<Form, Answer>;
  /** Forms that there was no time for. */
  readonly late: ReadonlySet<Form>;
  readonly vnpus: readonly Vnpu[];
  /** Serial number and firmware of the board that the chip is on. */
  readonly card: FieldBlock | null;
}

export interface Survey {
  readonly table: ChipTable;
  readonly places: readonly ChipPlace[];
  readonly topology: Topology | null;
  details(chip: ChipRow): ChipDetails;
}

interface Memory {
  readonly answers: Map<Form, { block: FieldBlock; query: number }>;
  vnpus: readonly Vnpu[];
  vnpuQuery: number;
}

export function createSurveyor(): (tool: ToolRunner) => Promise<Survey> {
  const memories = new Map<string, Memory>();
  const cards = new Map<number, FieldBlock>();
  /** Forms that this version does not have. */
  const refused = new Set<string>();
  const failures = new Map<string, number>();
  let places: readonly ChipPlace[] = [];
  let topology: Topology | null = null;
  let fingerprint = '';
  let turn = 0;
  let query = 0;

  return async (tool) => {
    query += 1;
    let slowestMs = 0;
    let isLate = false;

    /** One more call; null when there is no time for it, or the tool does not have it. */
    async function ask(args: readonly string[], form: string): Promise<NpuSmiOutput | null> {
      if (refused.has(form) || isLate) return null;
      const beforeMs = tool.remainingMs();
      if (beforeMs < Math.max(LEAST_MS, slowestMs * 1.5)) {
        isLate = true;
        return null;
      }
      try {
        const { stdout } = await tool.run(['info', ...args]);
        slowestMs = Math.max(slowestMs, beforeMs - tool.remainingMs());
        const output = parseNpuSmi(stdout);
        failures.delete(form);
        return output;
      } catch (error) {
        if (isFault(error, 'DEVICE_TOOL_LATE')) isLate = true;
        else if (isFault(error) && error.code.startsWith('DEVICE_')) {
          const count = (failures.get(form) ?? 0) + 1;
          failures.set(form, count);
          if (count >= REFUSALS) refused.add(form);
        } else throw error;
        return null;
      }
    }

    const stdout = await askText(tool, ['info']);
    const table = parseNpuSmi(stdout);
    if (table.kind !== 'table') throw layoutFault(TOOL, stdout, 'not the table of chips');

    const present = [
      table.driverVersion,
      ...table.chips.map(({ npu, chip, busId }) => `${npu}/${chip}/${busId}`),
    ];
    if (present.join(' ') !== fingerprint) {
      // Other chips or another driver: everything is asked again.
      fingerprint = present.join(' ');
      memories.clear();
      cards.clear();
      refused.clear();
      failures.clear();
      places = [];
      topology = null;
    }
    if (places.length === 0) {
      const map = await ask(['-m'], 'map');
      if (map?.kind === 'map') places = map.places;
    }

    const { chips, hasChipNumbers } = table;
    const ofChip = ({ chip }: ChipRow): string[] => (hasChipNumbers ? ['-c', `${chip}`] : []);
    const asked = new Map<string, NpuSmiOutput | null>();
    async function askForm(form: Form, row: ChipRow, memory: Memory, isOfChip: boolean): Promise<void> {
      // One call tells of all chips of a card.
      const args = ['-t', form, '-i', `${row.npu}`, ...(isOfChip ? ofChip(row) : [])];
      const call = args.join(' ');
      if (!asked.has(call)) asked.set(call, await ask(args, form));
      const output = asked.get(call);
      const block = output?.kind === 'fields' ? blockOf(output.blocks, row.npu, row.chip) : null;
      if (block !== null) memory.answers.set(form, { block, query });
    }
    const remembered = (row: ChipRow): Memory => {
      const key = `${row.npu}/${row.chip}`;
      const known = memories.get(key) ?? { answers: new Map(), vnpus: [], vnpuQuery: 0 };
      memories.set(key, known);
      return known;
    };
    // First the sick: what is wrong with them must not wait for its turn.
    for (const row of chips) if (row.health !== 'OK') await askForm('health', row, remembered(row), true);
    // Then the ids of all, as devices are known by them.
    for (const row of chips) {
      const memory = remembered(row);
      if (!memory.answers.has('board')) await askForm('board', row, memory, true);
    }
    const start = turn;
    for (let step = 0; step < chips.length && !isLate; step++) {
      const row = chips[(start + step) % chips.length];
      if (row === undefined) break;
      const memory = remembered(row);
      for (const form of forms) {
        if (form.once && memory.answers.has(form.name)) continue;
        if (form.name === 'proc-mem' && table.processes !== null) continue;
        await askForm(form.name, row, memory, form.isOfChip);
      }
      if (!cards.has(row.npu)) {
        const card = await ask(['-t', 'board', '-i', `${row.npu}`], 'card');
        const block = card?.kind === 'fields' ? card.blocks.find(({ npu }) => npu === row.npu) : undefined;
        if (block !== undefined) cards.set(row.npu, block);
      }
      if (query - memory.vnpuQuery >= KEPT_QUERIES || memory.vnpuQuery === 0) {
        const parts = await ask(['-t', 'info-vnpu', '-i', `${row.npu}`, ...ofChip(row)], 'info-vnpu');
        if (parts?.kind === 'vnpus') {
          memory.vnpus = parts.vnpus;
          memory.vnpuQuery = query;
        }
      }
      turn = (start + step + 1) % chips.length;
    }
    if (topology === null && chips.length > 1) {
      const links = await ask(['-t', 'topo'], 'topo');
      if (links?.kind === 'topology') topology = links;
    }

    return {
      table,
      places,
      topology,
      details(row) {
        const { answers, vnpus } = remembered(row);
        const fresh = [...answers].filter(
          ([form, { query: of }]) => query - of < KEPT_QUERIES || form === 'board',
        );
        const late = forms.filter(({ name }) => !refused.has(name) && answers.get(name)?.query !== query);
        return {
          answers: new Map(fresh.map(([form, { block, query: of }]) => [form, { block, age: query - of }])),
          late: new Set(late.map(({ name }) => name)),
          vnpus,
          card: cards.get(row.npu) ?? null,
        };
      },
    };
  };
}
