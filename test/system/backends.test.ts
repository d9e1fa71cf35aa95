// One machine, told twice: by a fake NVML and by a stub of nvidia-smi. Both backends of the built program must show the
// same rows; what only one of the two can know is named here, with its reason.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createFakeTool, type FakeTool } from '../fakes/tool.ts';
import { buildFake, fakeNvml, writeScript } from '../fakes/vendor/build.ts';
import { type Bed, createBed } from './bed.ts';

const MIB = 1024 * 1024;

interface Card {
  readonly name: string;
  readonly uuid: string;
  readonly bus: string;
  readonly serial: string;
  readonly minor: number;
  readonly memoryMib: number;
  readonly usedMib: number;
  readonly busy: number;
  readonly memoryBusy: number;
  readonly milliwatts: number;
  readonly limitMilliwatts: number;
  readonly celsius: number;
  readonly clockMhz: number;
  readonly memoryMhz: number;
  readonly corrected: number;
  readonly uncorrected: number;
  readonly isRemapPending: boolean;
  readonly isRemapFailed: boolean;
  readonly isHot: boolean;
  readonly pid: number | null;
}

const card = (index: number, more: Partial<Card> = {}): Card => ({
  name: 'NVIDIA H100 80GB HBM3',
  uuid: `GPU-0000000${index}-1111-2222-3333-444444444444`,
  bus: `00000000:${(0x17 + index * 0x10).toString(16).toUpperCase()}:00.0`,
  serial: `165000000000${index}`,
  minor: index,
  memoryMib: 81_559,
  usedMib: 1024 * (index + 1),
  busy: 29 + index,
  memoryBusy: 7 * index,
  milliwatts: 351_230 + index,
  limitMilliwatts: 700_000,
  celsius: 41 + index,
  clockMhz: 1755,
  memoryMhz: 2619,
  corrected: 3 * index,
  uncorrected: 0,
  isRemapPending: false,
  isRemapFailed: false,
  isHot: false,
  pid: null,
  ...more,
});

const cards = [
  card(0, { pid: 4242 }),
  card(1, { isRemapPending: true, uncorrected: 2 }),
  card(2, { isHot: true }),
  card(3, { isRemapFailed: true }),
];
const DRIVER = '580.95.05';

const script = [
  `set count ${cards.length}`,
  `set driver ${DRIVER}`,
  ...cards.flatMap((one, index) =>
    [
      `name ${one.name}`,
      `uuid ${one.uuid}`,
      `busId ${one.bus}`,
      `serial ${one.serial}`,
      `minor ${one.minor}`,
      'maxClock 1980',
      `memoryTotal ${one.memoryMib * MIB}`,
      `memoryUsed ${one.usedMib * MIB}`,
      `busy ${one.busy}`,
      `memoryBusy ${one.memoryBusy}`,
      `power ${one.milliwatts}`,
      `powerLimit ${one.limitMilliwatts}`,
      `temperature ${one.celsius}`,
      `clock ${one.clockMhz}`,
      `memoryClock ${one.memoryMhz}`,
      `eccCorrected ${one.corrected}`,
      `eccUncorrected ${one.uncorrected}`,
      `remapPending ${Number(one.isRemapPending)}`,
      `remapFailed ${Number(one.isRemapFailed)}`,
      `reasons ${one.isHot ? 0x48 : 0}`,
      ...(one.pid === null ? [] : [`process ${one.pid} ${512 * MIB}`]),
    ].map((line) => `device ${index} ${line}`),
  ),
];

const active = (is: boolean): string => (is ? 'Active' : 'Not Active');
const yes = (is: boolean): string => (is ? 'Yes' : 'No');

const xml = `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">
<nvidia_smi_log>
	<driver_version>${DRIVER}</driver_version>
	<attached_gpus>${cards.length}</attached_gpus>
${cards
  .map(
    (one) => `	<gpu id="${one.bus}">
		<product_name>${one.name}</product_name>
		<mig_mode><current_mig>N/A</current_mig><pending_mig>N/A</pending_mig></mig_mode>
		<serial>${one.serial}</serial>
		<uuid>${one.uuid}</uuid>
		<minor_number>${one.minor}</minor_number>
		<pci><pci_bus_id>${one.bus}</pci_bus_id></pci>
		<fan_speed>N/A</fan_speed>
		<clocks_event_reasons>
			<clocks_event_reason_sw_power_cap>Not Active</clocks_event_reason_sw_power_cap>
			<clocks_event_reason_hw_slowdown>${active(one.isHot)}</clocks_event_reason_hw_slowdown>
			<clocks_event_reason_hw_thermal_slowdown>${active(one.isHot)}</clocks_event_reason_hw_thermal_slowdown>
			<clocks_event_reason_hw_power_brake_slowdown>Not Active</clocks_event_reason_hw_power_brake_slowdown>
			<clocks_event_reason_sync_boost>Not Active</clocks_event_reason_sync_boost>
			<clocks_event_reason_sw_thermal_slowdown>Not Active</clocks_event_reason_sw_thermal_slowdown>
		</clocks_event_reasons>
		<fb_memory_usage><total>${one.memoryMib} MiB</total><used>${one.usedMib} MiB</used></fb_memory_usage>
		<utilization><gpu_util>${one.busy} %</gpu_util><memory_util>${one.memoryBusy} %</memory_util></utilization>
		<ecc_errors><aggregate>
			<dram_correctable>${one.corrected}</dram_correctable>
			<dram_uncorrectable>${one.uncorrected}</dram_uncorrectable>
		</aggregate></ecc_errors>
		<remapped_rows>
			<remapped_row_pending>${yes(one.isRemapPending)}</remapped_row_pending>
			<remapped_row_failure>${yes(one.isRemapFailed)}</remapped_row_failure>
		</remapped_rows>
		<temperature><gpu_temp>${one.celsius} C</gpu_temp><memory_temp>N/A</memory_temp></temperature>
		<gpu_power_readings>
			<instant_power_draw>${(one.milliwatts / 1000).toFixed(3)} W</instant_power_draw>
			<current_power_limit>${(one.limitMilliwatts / 1000).toFixed(2)} W</current_power_limit>
		</gpu_power_readings>
		<clocks><sm_clock>${one.clockMhz} MHz</sm_clock><mem_clock>${one.memoryMhz} MHz</mem_clock></clocks>
		<max_clocks><sm_clock>1980 MHz</sm_clock></max_clocks>
		<processes>${
      one.pid === null
        ? ''
        : `<process_info><pid>${one.pid}</pid><type>C</type><process_name>python3</process_name><used_memory>512 MiB</used_memory></process_info>`
    }</processes>
	</gpu>`,
  )
  .join('\n')}
</nvidia_smi_log>
`;

/** Of a device as JSON shows it: what must differ, or what only one of the two can know. */
const apart = [
  // How it was read.
  'backend',
  // When the faults were seen; their codes, rungs and texts are compared.
  'faults',
  // Names of processes: the library has none, they are looked up by pid on the host.
  'processes',
  // The tool does not print the energy counter, so that the tool's is an integral.
  'energyJoules',
  'energyMethod',
  'energyMeasuredRatio',
] as const;

type Device = Record<string, unknown> & {
  readonly faults: readonly { code: string; rung: string; text: string }[];
  readonly processes: readonly { pid: number; memoryBytes: number }[];
  readonly absent: Record<string, string>;
};

let bed: Bed;
let tool: FakeTool;
beforeAll(() => {
  bed = createBed();
  buildFake(fakeNvml, join(bed.folder, 'lib'));
  writeScript(join(bed.folder, 'script'), script);
  tool = createFakeTool('nvidia-smi', [
    { args: '-q -x', stdout: xml },
    { args: '*', stdout: '', exitCode: 2 },
  ]);
});
afterAll(async () => {
  tool.close();
  await bed.close();
});

async function read(backend: 'native' | 'cli'): Promise<readonly Device[]> {
  const { code, stdout, stderr } = await bed.run(['devices', '-o', 'json', '--backend', backend], {
    environment: {
      LD_LIBRARY_PATH: join(bed.folder, 'lib'),
      FLOPD_FAKE_NVML: join(bed.folder, 'script'),
      PATH: `${tool.folder}:${process.env.PATH ?? ''}`,
    },
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return (JSON.parse(stdout) as { devices: Device[] }).devices;
}

const compared = (device: Device): Record<string, unknown> => {
  const rest: Record<string, unknown> = { ...device };
  for (const name of apart) delete rest[name];
  const { energyJoules: _, energyMeasuredRatio: __, energyMethod: ___, ...absent } = device.absent;
  return {
    ...rest,
    absent,
    faults: device.faults.map(({ code, rung, text }) => [code, rung, text]),
    processes: device.processes.map(({ pid, memoryBytes }) => [pid, memoryBytes]),
  };
};

describe('both backends', () => {
  test('show identical rows of one machine', async () => {
    const [native, cli] = [await read('native'), await read('cli')];
    expect(native.map(({ backend }) => backend)).toEqual(cards.map(() => 'native'));
    expect(cli.map(({ backend }) => backend)).toEqual(cards.map(() => 'cli'));
    expect(cli.map(compared)).toEqual(native.map(compared));
    // And it is the machine's truth.
    expect(native).toMatchObject(
      cards.map((one) => ({
        id: one.uuid,
        busId: one.bus,
        powerWatts: one.milliwatts / 1000,
        busyRatio: one.busy / 100,
        memoryUsedBytes: one.usedMib * MIB,
      })),
    );
    expect(native.map(({ rung }) => rung)).toEqual(['ok', 'warn', 'warn', 'replace']);
  });
});
