#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/unique_function.h"
#include "fetcher/aws_settings.h"
#include "fetcher/sigv4.h"
#include "fetcher/worker_pool.h"
#include "rangecache/result.h"

namespace rangecache::fetcher {

struct TimedCredentials {
  AwsCredentials keys;
  std::optional<std::int64_t> expires_s;  ///< Unix time; nullopt: they do not expire
};

/// Looks for credentials where AWS's tools do, in their order: environment, a role of the profile
/// (role_arn), web identity, SSO, ~/.aws/credentials, credential_process, ~/.aws/config, the
/// container's endpoint (ECS, EKS), the instance's (IMDSv2). A profile that the options name goes
/// before the environment. Blocks: reads files, and may run a process or ask a service, for some
/// seconds at most each. The first place that has something decides: if it is broken, that is the
/// error.
Result<TimedCredentials> find_credentials(const S3Options& options, const Environment& environment);

/// Credentials at hand from their first use on, got anew before they expire. Thread-safe.
class CredentialCache {
 public:
  using Find = std::function<Result<TimedCredentials>()>;  ///< may block; on an own thread

  CredentialCache(Find find, const Clock& clock);

  /// `done` comes once there are credentials (from within, if there are), or with the error of
  /// trying to get them, which is remembered for some seconds.
  void prepare(UniqueFunction<void(Result<void>)> done) EXCLUDES(mu_);
  /// Never blocks; only after prepare() was well. While new ones cannot be had the old ones are
  /// given, even past their time: the service then says so.
  std::shared_ptr<const AwsCredentials> current() EXCLUDES(mu_);
  /// The service says so of these: the next prepare() waits for others.
  void expired(const std::shared_ptr<const AwsCredentials>& keys) EXCLUDES(mu_);

 private:
  void look() EXCLUDES(mu_);
  void take(TimedCredentials found) REQUIRES(mu_);

  const Find find_;
  const Clock& clock_;
  Mutex mu_;
  std::shared_ptr<const AwsCredentials> current_ GUARDED_BY(mu_);
  bool usable_ GUARDED_BY(mu_) = false;                 ///< as far as is known
  std::optional<Error> error_ GUARDED_BY(mu_);          ///< of the last try
  std::optional<std::int64_t> look_s_ GUARDED_BY(mu_);  ///< when others are to be got
  bool looking_ GUARDED_BY(mu_) = false;
  std::vector<UniqueFunction<void(Result<void>)>> waiting_ GUARDED_BY(mu_);
  WorkerPool worker_;  ///< last: its thread ends before the rest goes
};

}  // namespace rangecache::fetcher
