// Xid errors: what the driver's numbers mean for jobs. Numbers and meanings are NVIDIA's; the rungs are ours. A number
// that is not here is told and changes nothing.
import type { DeviceEvent, Finding } from '../accelerator.ts';

type Row = readonly [rung: Finding['rung'], text: string];

// biome-ignore format: a table, one number a line
const rows: Readonly<Record<number, Row>> = {
  8: ['observe', 'A channel of the GPU stopped; most often the application'],
  13: ['observe', 'Graphics engine exception, most often an out-of-bounds access of the application'],
  16: ['observe', 'The display engine hangs'],
  24: ['observe', 'A semaphore of the GPU timed out; most often the application'],
  25: ['observe', 'Invalid or illegal push buffer stream'],
  31: ['observe', 'Memory page fault, most often an illegal address of the application'],
  32: ['observe', 'Invalid or corrupted push buffer; watch whether it comes back'],
  38: ['warn', 'Driver firmware error; update the driver if it comes back'],
  42: ['warn', 'Video processor exception'],
  43: ['observe', 'The GPU stopped processing for one application, which was ended'],
  44: ['warn', 'Graphics engine fault during a context switch'],
  45: ['observe', 'Work was removed after an earlier error or the end of an application'],
  46: ['resetNeeded', 'The GPU stopped processing; reset it'],
  48: ['stopJobs', 'Double-bit ECC error: data in memory was lost; jobs on the GPU cannot be trusted'],
  54: ['noNewJobs', 'Auxiliary power is not connected to the card; check its cables'],
  56: ['observe', 'Display engine error'],
  57: ['warn', 'Error programming the interface of the video memory'],
  58: ['resetNeeded', 'The interface of the video memory is unstable; reset the GPU, replace it if that does not help'],
  61: ['resetNeeded', 'Breakpoint or warning of the internal microcontroller; reset the GPU'],
  62: ['resetNeeded', 'Internal microcontroller halt; reset the GPU'],
  63: ['warn', 'A memory page was retired or a row remapped; reset the GPU when its jobs are done'],
  64: ['replace', 'Retiring a page or remapping a row failed; replace the GPU if a reset does not help'],
  65: ['warn', 'Video processor exception'],
  66: ['warn', 'Illegal access by the driver; update it if it comes back'],
  67: ['warn', 'Illegal access by the driver; update it if it comes back'],
  68: ['warn', 'Video processor exception'],
  69: ['observe', 'Graphics engine class error, most often the application'],
  74: ['noNewJobs', 'NVLink error; check the links and the neighbour of the GPU'],
  78: ['noNewJobs', 'A virtual GPU could not be started'],
  79: ['resetNeeded', 'The GPU has fallen off the bus; boot the host, reseat or replace the card'],
  80: ['warn', 'Corrupted data came to the GPU; check its seating and the PCIe path if it comes back'],
  92: ['warn', 'High rate of single-bit ECC errors'],
  93: ['observe', 'The limit of writes to the InfoROM was passed; no harm by itself'],
  94: ['noNewJobs', 'Contained memory error: one application was affected; reset the GPU when its jobs are done'],
  95: ['stopJobs', 'Uncontained memory error: every job on the GPU is affected; reset it'],
  109: ['warn', 'Context switch timeout'],
  110: ['resetNeeded', 'Security fault; reset the GPU'],
  119: ['resetNeeded', 'The GPU system processor does not answer; reset the GPU or boot the host'],
  120: ['resetNeeded', 'The GPU system processor failed; reset the GPU or boot the host'],
  121: ['observe', 'Corrected error on the chip-to-chip link'],
  122: ['warn', 'The configuration memory of the card failed'],
  123: ['resetNeeded', 'The power management unit could not be written to; reset the GPU or boot the host'],
  136: ['warn', 'NVLink link training failed'],
  137: ['observe', 'NVLink memory privilege error, most often the application'],
  140: ['resetNeeded', 'Unrecovered ECC error; reset the GPU'],
  143: ['resetNeeded', 'The GPU could not be initialised; reset it'],
  144: ['noNewJobs', 'NVLink SAW error'],
  145: ['noNewJobs', 'NVLink RLW error'],
  146: ['noNewJobs', 'NVLink TLW error'],
  147: ['noNewJobs', 'NVLink TREX error'],
  148: ['noNewJobs', 'NVLink power control error'],
  149: ['noNewJobs', 'NVLink netir error'],
  150: ['noNewJobs', 'NVLink stream engine error'],
  154: ['noNewJobs', 'The driver asks for a recovery action; see "nvidia-smi -q"'],
  155: ['noNewJobs', 'NVLink software-defined error'],
  158: ['resetNeeded', 'The GPU timed out fatally; reset it'],
};

/** The finding for an Xid; one that is not in the table is only told. */
export function judgeXid(code: number): Finding {
  const [rung, text] = rows[code] ?? ['observe', 'Not in our table: see the list of Xid errors'];
  return { code: `xid-${code}`, rung, text: `Xid ${code}: ${text}` };
}

export function judgeEvent({ kind, code }: DeviceEvent): Finding | null {
  if (kind === 'xid') return judgeXid(code);
  // Corrected ones (1) are counted, not judged; the driver tells of uncorrected ones by an Xid as well.
  if (kind === 'ecc' && code === 2)
    return {
      code: 'ecc-uncorrected-event',
      rung: 'warn',
      text: 'An uncorrected memory error was reported; watch whether they grow',
    };
  return null;
}
