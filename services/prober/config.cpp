#include "services/prober/config.h"

#include "services/prober/core/engine.h"
#include "services/prober/core/limits.h"
#include "services/prober/core/packet.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {

void Config::describe(config::Spec& spec, Config& config) {
  spec.text("location", config.location,
            "The vantage point this prober stands at; devices name it in probe_from.");
  spec.integer("burst_count", config.burst_count, 0, kBurstCountMax,
               "Echoes that confirm a failing check before it counts as failed; 0: none.");
  spec.duration_ms("burst_spacing_ms", config.burst_spacing, std::chrono::milliseconds(10),
                   std::chrono::milliseconds(5000), "Between two of them.");
  spec.duration_ms("flush_ms", config.flush, std::chrono::milliseconds(10),
                   std::chrono::milliseconds(1000),
                   "How long results wait for company before they are spooled and published.");
  spec.integer("spool_bytes_max", config.spool_bytes_max, 16 << 20, int64_t{1} << 40,
               "What the spool may hold while nobody acknowledges; beyond it the oldest results "
               "are dropped, counted and announced. 10,000 devices each second write about 250 MB "
               "an hour.");
  spec.list(
      "canaries", config.canaries,
      "Addresses that always answer, asked once a second. When most of those that ever answered "
      "fall silent, the trouble is this prober's: failures are not measured (prober suspect). The "
      "word gateway stands for this host's default gateways. Empty: none.",
      [](const std::string& item) -> std::optional<std::string> {
        const auto address = parse_address(item);
        if (item == "gateway" || (address && may_be_pinged(*address))) return std::nullopt;
        return "must be gateway, or an address that an echo may go to";
      });
  spec.duration_ms("suspect_lag_ms", config.suspect_lag, std::chrono::milliseconds(10),
                   std::chrono::milliseconds(60'000),
                   "Suspect, too, when echoes leave so much later than due,");
  spec.integer("suspect_send_errors_percent", config.suspect_send_errors_percent, 1, 100,
               "or the kernel refuses more than this share of them (not for want of a route),");
  spec.integer("suspect_socket_drops_percent", config.suspect_socket_drops_percent, 1, 100,
               "or drops more than this share of replies unread.");
  spec.choice(
      "address_family", config.address_family, {"any", "ipv4", "ipv6"},
      "Which addresses this prober may use. A device that has none of them is not measured: "
      "no address.");
  spec.list("dns_servers", config.dns_servers,
            "Who is asked for the addresses of names, in turn: 192.0.2.53, [2001:db8::53]:5353. "
            "Empty: the system's (/etc/resolv.conf). /etc/hosts comes first in any case.");
  spec.text("source_ipv4", config.source_ipv4,
            "The address echo requests come from; must be this host's. Empty: as the route says.");
  spec.text("source_ipv6", config.source_ipv6, "The same for IPv6.");
  spec.integer("dscp", config.dscp, 0, 63, "The differentiated services code point of requests.");
  spec.integer("payload_bytes", config.payload_bytes, kPayloadBytes, kPayloadBytesMax,
               "Bytes behind the ICMP header of a request. What exceeds the path's MTU travels in "
               "fragments, or is refused if dont_fragment is set.");
  spec.flag("dont_fragment", config.dont_fragment,
            "Forbids fragments: a request that is too long for the path is a send error (message "
            "too long), or unreachable when a router says so.");
  spec.integer(
      "proofs_max", config.proofs_max, 16, 16'384,
      "Connections at once for proofs of life (web_url, tcp_ports); more wait for room, and "
      "are not tried if there is none within a device's timeout.");
  spec.text(
      "secrets_dir", config.secrets_dir,
      "Where the files are that web_auth names: \"user:password\" in the first line, hosts that "
      "may be told in further ones. Empty: secrets in the data directory.");
  spec.text("web_ca_file", config.web_ca_file,
            "Certificates to trust when a web_url is asked, instead of the system's.");
}

}  // namespace gema::prober
