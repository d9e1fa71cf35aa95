// Output in nvidia-smi's forms, written by us for a host that does not exist: two devices, one cut into two instances.
export const list = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-11111111-2222-3333-4444-555555555555)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaaaaaa-0000-0000-0000-000000000001)
  MIG 1g.10gb     Device  1: (UUID: MIG-aaaaaaaa-0000-0000-0000-000000000002)
GPU 1: NVIDIA L40S (UUID: GPU-66666666-7777-8888-9999-000000000000)
`;

export const csv = `index, name, uuid, pci.bus_id, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], utilization.memory [%], power.draw [W], enforced.power.limit [W], temperature.gpu, temperature.memory, clocks.current.sm [MHz], clocks.current.memory [MHz], ecc.errors.corrected.aggregate.total, ecc.errors.uncorrected.aggregate.total, ecc.errors.uncorrected.volatile.total, compute_cap
0, NVIDIA A100-SXM4-80GB, GPU-11111111-2222-3333-4444-555555555555, 00000000:17:00.0, 570.12.34, 81920 MiB, 513 MiB, [N/A], 7 %, 103.21 W, 400.00 W, 37, 41, 1275 MHz, 1593 MHz, 12, 0, 0, 8.0
1, NVIDIA L40S, GPU-66666666-7777-8888-9999-000000000000, 00000000:B1:00.0, 570.12.34, 46068 MiB, 1 MiB, 63 %, 21 %, [Unknown Error], 350.00 W, 58, N/A, 2520 MHz, 9001 MHz, 0, 3, 3, 8.9
`;

export const table = `Wed Nov 25 10:00:00 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 570.12.34              Driver Version: 570.12.34      CUDA Version: 12.8     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA A100-SXM4-80GB          On  |   00000000:17:00.0 Off |                   On |
| N/A   37C    P0            103W /  400W |     513MiB /  81920MiB |     N/A      Default |
|                                         |                        |              Enabled |
+-----------------------------------------+------------------------+----------------------+
|   1  NVIDIA L40S                    On  |   00000000:B1:00.0 Off |                    3 |
| 30%   58C    P0            211W /  350W |       1MiB /  46068MiB |     63%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
| MIG devices:                                                                            |
+------------------+----------------------------------+-----------+-----------------------+
|  0    2   0   0  |             487MiB / 40192MiB    | 42      0 |  3   0    2    0    0 |
|                  |               0MiB / 65535MiB    |           |                       |
+------------------+----------------------------------+-----------+-----------------------+
|  0    9   0   1  |              26MiB /  9728MiB    | 14      0 |  1   0    0    0    0 |
|                  |               0MiB / 16383MiB    |           |                       |
+------------------+----------------------------------+-----------+-----------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|
|    0    2    0            31337      C   /opt/train/run                          468MiB |
|    1   N/A  N/A            4242      C   python3                                 700MiB |
+-----------------------------------------------------------------------------------------+
`;

const device = (bus: string, name: string, uuid: string, mig: string) => `GPU ${bus}
    Product Name                          : ${name}
    MIG Mode
        Current                           : ${mig === '' ? 'N/A' : 'Enabled'}
${mig}    Serial Number                         : 13579
    GPU UUID                              : ${uuid}
    Minor Number                          : 1
    VBIOS Version                         : 92.00.45.00.06
    GPU Recovery Action                   : None
    PCI
        Bus Id                            : ${bus}
        GPU Link Info
            PCIe Generation
                Max                       : 4
                Current                   : 4
            Link Width
                Max                       : 16x
                Current                   : 8x
        Replays Since Reset               : 5
        Tx Throughput                     : 700 KB/s
        Rx Throughput                     : 350 KB/s
    Fan Speed                             : 30 %
    Clocks Event Reasons
        SW Power Cap                      : Active
        HW Slowdown                       : Active
            HW Thermal Slowdown           : Active
            HW Power Brake Slowdown       : Not Active
        SW Thermal Slowdown               : Not Active
    FB Memory Usage
        Total                             : 46068 MiB
        Used                              : 701 MiB
    Utilization
        Gpu                               : 63 %
        Memory                            : 21 %
        Encoder                           : 4 %
    ECC Errors
        Volatile
            SRAM Uncorrectable Parity     : 0
            DRAM Uncorrectable            : 0
        Aggregate
            SRAM Correctable              : 2
            DRAM Correctable              : 10
            DRAM Uncorrectable            : 3
    Remapped Rows
        Pending                           : Yes
        Remapping Failure Occurred        : No
    Temperature
        GPU Current Temp                  : 58 C
        Memory Current Temp               : N/A
    GPU Power Readings
        Average Power Draw                : 210.00 W
        Instantaneous Power Draw          : 211.55 W
        Current Power Limit               : 350.00 W
    Clocks
        SM                                : 2520 MHz
        Memory                            : 9001 MHz
    Max Clocks
        SM                                : 2520 MHz
    Processes
        GPU instance ID                   : N/A
        Process ID                        : 4242
            Type                          : C
            Name                          : python3
            Used GPU Memory               : 700 MiB
`;

export const log = `
==============NVSMI LOG==============

Timestamp                                 : Wed Nov 25 10:00:00 2026
Driver Version                            : 570.12.34
CUDA Version                              : 12.8

Attached GPUs                             : 2
${device(
  '00000000:17:00.0',
  'NVIDIA A100-SXM4-80GB',
  'GPU-11111111-2222-3333-4444-555555555555',
  `    MIG Device
        Index                             : 0
        GPU Instance ID                   : 2
        Compute Instance ID               : 0
        Device Attributes
            Shared
                Multiprocessor count      : 42
        FB Memory Usage
            Total                         : 40192 MiB
            Used                          : 487 MiB
`,
)}
${device('00000000:B1:00.0', 'NVIDIA L40S', 'GPU-66666666-7777-8888-9999-000000000000', '')}`;

export const monitor = `# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk
# Idx      W      C      C      %      %      %      %      %      %    MHz    MHz
    0    103     37     41      -      -      -      -      -      -   1593   1275
    1    211     58      -     63     21      4      0      -      -   9001   2520
    0    109     38     42      -      -      -      -      -      -   1593   1290
    1    198     57      -     61     20      3      0      -      -   9001   2505
`;

export const processMonitor = `# gpu         pid   type     sm    mem    enc    dec    jpg    ofa    command
# Idx           #    C/G      %      %      %      %      %      %    name
    0          -     -      -      -      -      -      -      -    -
    1       4242     C     62     20      -      -      -      -    python3
    1       4243   C+G      1      0      -      -      -      -    a name of three
`;

const topologyRow = (name: string, ...cells: string[]) => [name, ...cells].join('\t');
export const topology = `\t\u001b[4mGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\u001b[0m
${topologyRow('GPU0', ' X ', 'NV12', 'SYS', 'PXB', '0-31', '0', '', 'N/A')}
${topologyRow('GPU1', 'NV12', ' X ', 'PHB', 'SYS', '32-63', '1', '', 'N/A')}
${topologyRow('GPU2', 'SYS', 'PHB', ' X ', 'SYS', '32-63', '1', '', 'N/A')}
${topologyRow('NIC0', 'PXB', 'SYS', 'SYS', ' X ')}

Legend:

  X    = Self
  NV#  = Connection over # NVLinks

NIC Legend:

  NIC0: mlx5_0
`;

export const linkState = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-11111111-2222-3333-4444-555555555555)
\t Link 0: 25 GB/s
\t Link 1: 26.562 GB/s
\t Link 2: <inactive>
GPU 1: NVIDIA L40S (UUID: GPU-66666666-7777-8888-9999-000000000000)
Device does not have or support Nvlink
GPU 2: NVIDIA GeForce RTX 2080 (UUID: GPU-66666666-7777-8888-9999-000000000001)
\t Link 0: <inactive>
`;

export const apps = `timestamp, gpu_name, gpu_bus_id, gpu_serial, gpu_uuid, pid, process_name, used_gpu_memory [MiB]
2026/11/25 10:00:00.123, NVIDIA L40S, 00000000:B1:00.0, 13579, GPU-66666666-7777-8888-9999-000000000000, 4242, /opt/a, b, 700 MiB
2026/11/25 10:00:00.123, NVIDIA L40S, 00000000:B1:00.0, 13579, GPU-66666666-7777-8888-9999-000000000000, 4243, [Insufficient Permissions], [N/A]
`;
