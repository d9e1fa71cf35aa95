#include "host.h"

extern const struct part stat_part, loadavg_part, cpufreq_part, meminfo_part, pressure_part, diskstats_part,
    netdev_part, hwmon_part, powercap_part, cgroup_part;

const struct part *const host_parts[] = {
    &stat_part,   &loadavg_part, &cpufreq_part,  &meminfo_part, &pressure_part, &diskstats_part,
    &netdev_part, &hwmon_part,   &powercap_part, &cgroup_part,  NULL,
};
