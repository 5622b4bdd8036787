// One description of a section gives everything: defaults, file, environment, seeds' names, ranges,
// unknown keys, --print-config. A service's Config has
//   static void describe(config::Spec& spec, Config& config) {
//     spec.duration_ms("flush_ms", config.flush, 10ms, 1s, "How long results may wait for
//     company.");
//   }
// Values are taken in this order, later ones win: defaults, file, the source systems' own names
// (environment or DIR/.env), GEMA_SECTION__KEY, options. Pure: texts and maps in, problems out.
#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace gema::config {

// What is wrong with one value. Printed as "gema.yaml line 3: prober.flush_ms = 0: must be ...".
struct Problem {
  std::string where;
  std::string key;
  std::string value;
  std::string rule;

  std::string text() const;
  friend bool operator==(const Problem&, const Problem&) = default;
};

struct Setting {
  std::string key;
  std::string doc;
  bool secret = false;
  bool is_list = false;
  std::vector<std::string> aliases;
  // Takes the text of the value; returns the rule it breaks, and leaves the field alone then.
  std::function<std::optional<std::string>(const std::string&)> set;
  std::function<std::optional<std::string>(const std::vector<std::string>&)> set_list;
  std::function<std::string()> print;  // as YAML
};

class Spec {
 public:
  // `section`: "timeout-tracker". Fields given to the methods must outlive the Spec.
  explicit Spec(std::string section) : section_(std::move(section)) {}

  template <std::integral Int>
  void integer(const char* key, Int& field, int64_t min, int64_t max, const char* doc) {
    add_number(
        key, min, max, "", [&field](int64_t v) { field = static_cast<Int>(v); },
        [&field] { return static_cast<int64_t>(field); }, doc);
  }
  template <class Rep, class Period>
  void duration_ms(const char* key, std::chrono::duration<Rep, Period>& field,
                   std::chrono::milliseconds min, std::chrono::milliseconds max, const char* doc) {
    add_duration<std::chrono::milliseconds>(key, field, min.count(), max.count(), " ms", doc);
  }
  template <class Rep, class Period>
  void duration_s(const char* key, std::chrono::duration<Rep, Period>& field,
                  std::chrono::seconds min, std::chrono::seconds max, const char* doc) {
    add_duration<std::chrono::seconds>(key, field, min.count(), max.count(), " s", doc);
  }
  void text(const char* key, std::string& field, const char* doc);
  // Printed as "***" when set.
  void secret(const char* key, std::string& field, const char* doc);
  // true/false, yes/no, on/off, 1/0, any case.
  void flag(const char* key, bool& field, const char* doc);
  // One of `choices`, any case; stored as spelled in `choices`.
  void choice(const char* key, std::string& field, std::vector<std::string> choices,
              const char* doc);
  // A YAML sequence, or one text with "," between (environment). `check` returns the rule that an
  // item breaks.
  using CheckItem = std::function<std::optional<std::string>(const std::string& item)>;
  void list(const char* key, std::vector<std::string>& field, const char* doc,
            CheckItem check = {});
  // The source systems' name for `key` ("PING_INTERVAL"). Requires: key was described before.
  void alias(const char* seed_name, const char* key);

  // Of another process' section only some keys are wanted: the rest is that process' to check.
  void only_these() { partial_ = true; }
  bool partial() const { return partial_; }

  const std::string& section() const { return section_; }
  const std::vector<Setting>& settings() const { return settings_; }
  const Setting* find(const std::string& key) const;

 private:
  template <class Unit, class Rep, class Period>
  void add_duration(const char* key, std::chrono::duration<Rep, Period>& field, int64_t min,
                    int64_t max, const char* unit, const char* doc) {
    using Field = std::chrono::duration<Rep, Period>;
    add_number(
        key, min, max, unit,
        [&field](int64_t v) { field = std::chrono::duration_cast<Field>(Unit(v)); },
        [&field] { return static_cast<int64_t>(std::chrono::duration_cast<Unit>(field).count()); },
        doc);
  }
  void add_number(const char* key, int64_t min, int64_t max, const char* unit,
                  std::function<void(int64_t)> store, std::function<int64_t()> load,
                  const char* doc);
  void add(Setting setting);

  std::string section_;
  bool partial_ = false;
  std::vector<Setting> settings_;
};

struct Inputs {
  std::string file_name;                      // for messages
  std::optional<std::string> file_text;       // none: no file
  std::map<std::string, std::string> env;     // the process' environment
  std::map<std::string, std::string> dotenv;  // DIR/.env; the environment wins over it
};

// Applies the inputs to the fields behind `specs`. `other_sections`: sections that other processes
// read; anything else in the file is a problem. Returns every problem, in order of appearance;
// fields whose value was refused keep their default.
std::vector<Problem> load(const std::vector<Spec>& specs,
                          const std::vector<std::string>& other_sections, const Inputs& inputs);

// The effective configuration as YAML with the documentation as comments, secrets masked.
std::string print(const std::vector<Spec>& specs);

// KEY=VALUE lines as in a .env file: comments, blank lines, "export ", single and double quotes.
// Lines that are none of these are ignored, as the tools that share such files do.
std::map<std::string, std::string> parse_dotenv(const std::string& text);

}  // namespace gema::config
