#include "services/prober/io/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace gema::prober {

Result<void> drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  // An administrator who runs everything as root expects that root can write DIR, whoever owns it.
  const uint32_t files = 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER;
  if (geteuid() == 0) {
    __user_cap_data_struct have[2]{};
    if (syscall(SYS_capget, &header, have) == 0) {
      data[0].permitted = data[0].effective = have[0].permitted & files;
    }
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (syscall(SYS_capset, &header, data) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return Error{Errc::kPermanent,
                 std::string("capabilities cannot be dropped: ") + std::strerror(errno)};
  }
  return {};
}

}  // namespace gema::prober
