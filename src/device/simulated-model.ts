// Accelerators that can be simulated: what is printed on the box, nothing that is measured. Names are spelled as the
// vendor's own tool spells them, so that the peak table finds them as it finds real ones.

export interface SimulatedModel {
  /** What `--simulate` calls it; letter case, blanks and dashes count nothing. */
  readonly key: string;
  readonly vendor: string;
  readonly name: string;
  /** Start of its ids. */
  readonly idPrefix: string;
  readonly memoryBytes: number;
  readonly powerLimitWatts: number;
  readonly computeCapability: string | null;
  /** Multiprocessors, AI cores or compute units. */
  readonly units: number | null;
  readonly lanesPerUnit: number | null;
  readonly maxClockHertz: number;
  readonly memoryClockHertz: number;
  /** Its tool tells the load of the matrix units beside that of the whole. */
  readonly tellsCube: boolean;
}

type Row = readonly [
  key: string,
  name: string,
  memoryGib: number,
  watts: number,
  clockMhz: number,
  memoryMhz: number,
  units: number | null,
  computeCapability: string | null,
];

const MHZ = 1e6;
const GIB = 1024 ** 3;

/** Multiprocessors of these generations have 64 FP32 lanes, all others 128. */
const NARROW = ['7.0', '7.5', '8.0'];

// biome-ignore format: a table, one model a line
const nvidia: readonly Row[] = [
  ['V100',       'Tesla V100-SXM2-32GB',                     32,  300, 1530,  877,  80, '7.0'],
  ['T4',         'Tesla T4',                                 15,   70, 1590, 5001,  40, '7.5'],
  ['A100',       'NVIDIA A100-SXM4-80GB',                    80,  400, 1410, 1593, 108, '8.0'],
  ['A100-40GB',  'NVIDIA A100-SXM4-40GB',                    40,  400, 1410, 1215, 108, '8.0'],
  ['A800',       'NVIDIA A800-SXM4-80GB',                    80,  400, 1410, 1593, 108, '8.0'],
  ['A30',        'NVIDIA A30',                               24,  165, 1440, 1215,  56, '8.0'],
  ['A10',        'NVIDIA A10',                               24,  150, 1695, 6251,  72, '8.6'],
  ['A40',        'NVIDIA A40',                               48,  300, 1740, 7251,  84, '8.6'],
  ['RTX3090',    'NVIDIA GeForce RTX 3090',                  24,  350, 1695, 9751,  82, '8.6'],
  ['L4',         'NVIDIA L4',                                24,   72, 2040, 6251,  58, '8.9'],
  ['L20',        'NVIDIA L20',                               48,  275, 2520, 9001,  92, '8.9'],
  ['L40',        'NVIDIA L40',                               48,  300, 2490, 9001, 142, '8.9'],
  ['L40S',       'NVIDIA L40S',                              48,  350, 2520, 9001, 142, '8.9'],
  ['RTX4090',    'NVIDIA GeForce RTX 4090',                  24,  450, 2520, 10501, 128, '8.9'],
  ['H100',       'NVIDIA H100 80GB HBM3',                    80,  700, 1980, 2619, 132, '9.0'],
  ['H100-PCIe',  'NVIDIA H100 PCIe',                         80,  350, 1755, 1593, 114, '9.0'],
  ['H100-NVL',   'NVIDIA H100 NVL',                          94,  400, 1785, 2619, 132, '9.0'],
  ['H200',       'NVIDIA H200',                             141,  700, 1980, 3201, 132, '9.0'],
  ['H800',       'NVIDIA H800',                              80,  700, 1980, 2619, 132, '9.0'],
  ['H20',        'NVIDIA H20',                               96,  400, 1980, 2619,  78, '9.0'],
  ['B200',       'NVIDIA B200',                             180, 1000, 1965, 3996, 148, '10.0'],
  ['GB200',      'NVIDIA GB200',                            186, 1200, 2062, 3996, 148, '10.0'],
  ['B300',       'NVIDIA B300',                             270, 1100, 1965, 3996, 148, '10.3'],
  ['RTX5090',    'NVIDIA GeForce RTX 5090',                  32,  575, 2407, 14001, 170, '12.0'],
];

// biome-ignore format: a table, one model a line
const ascend: readonly Row[] = [
  ['310P3',  '310P3',  24,  72, 1080, 2133,  8, null],
  ['910A',   '910A',   32, 310, 1000, 1200, 32, null],
  ['910B1',  '910B1',  64, 400, 1850, 1600, 24, null],
  ['910B2',  '910B2',  64, 400, 1800, 1600, 24, null],
  ['910B3',  '910B3',  64, 400, 1800, 1600, 20, null],
  ['910B4',  '910B4',  32, 310, 1500, 1600, 20, null],
];

// biome-ignore format: a table, one model a line
const amd: readonly Row[] = [
  ['MI210',  'AMD Instinct MI210',   64,  300, 1700, 1600, 104, null],
  ['MI250X', 'AMD Instinct MI250X', 128,  560, 1700, 1600, 220, null],
  ['MI300X', 'AMD Instinct MI300X', 192,  750, 2100, 1300, 304, null],
  ['MI325X', 'AMD Instinct MI325X', 256, 1000, 2100, 1500, 304, null],
];

// biome-ignore format: a table, one model a line
const others: readonly (readonly [vendor: string, row: Row])[] = [
  ['hygon',     ['K100-AI',    'K100_AI',     64, 350, 1500, 1800, null, null]],
  ['cambricon', ['MLU370-X8',  'MLU370-X8',   48, 250, 1300, 1600, null, null]],
  ['mthreads',  ['S4000',      'MTT S4000',   48, 450, 1750, 2000, null, null]],
  ['metax',     ['C500',       'MetaX C500',  64, 350, 1600, 1800, null, null]],
  ['iluvatar',  ['BI-V150',    'Iluvatar BI-V150', 64, 350, 1500, 1600, null, null]],
];

function modelOf(vendor: string, idPrefix: string, row: Row): SimulatedModel {
  const [key, name, memoryGib, powerLimitWatts, clockMhz, memoryMhz, units, computeCapability] = row;
  return {
    key,
    vendor,
    name,
    idPrefix,
    memoryBytes: memoryGib * GIB,
    powerLimitWatts,
    computeCapability,
    units,
    lanesPerUnit: computeCapability === null ? null : NARROW.includes(computeCapability) ? 64 : 128,
    maxClockHertz: clockMhz * MHZ,
    memoryClockHertz: memoryMhz * MHZ,
    tellsCube: vendor === 'ascend',
  };
}

export const simulatedModels: readonly SimulatedModel[] = [
  ...nvidia.map((row) => modelOf('nvidia', 'GPU', row)),
  ...ascend.map((row) => modelOf('ascend', 'NPU', row)),
  ...amd.map((row) => modelOf('amd', 'GPU', row)),
  ...others.map(([vendor, row]) => modelOf(vendor, 'DEV', row)),
];
