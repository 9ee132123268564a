#pragma once

#include <cstdlib>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "rangecache/error.h"

namespace rangecache {

/// A value or an Error, with the member names of C++23's std::expected.
/// Asking an error for its value, or a value for its error, aborts: check first.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  // Implicit on purpose: `return value;` and `return Error{...};` both read well.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return get(); }
  const T& value() const& { return const_cast<Result*>(this)->get(); }
  T&& value() && { return std::move(get()); }
  T& operator*() & { return get(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(get()); }
  T* operator->() { return &get(); }
  const T* operator->() const { return &value(); }

  Error& error() & {
    if (has_value()) std::abort();
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& { return const_cast<Result*>(this)->error(); }

 private:
  T& get() {
    if (!has_value()) std::abort();
    return *std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: see Result<T>

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  Error& error() & {
    if (!error_) std::abort();
    return *error_;
  }
  const Error& error() const& { return const_cast<Result*>(this)->error(); }

 private:
  std::optional<Error> error_;
};

}  // namespace rangecache

/// Evaluates `expr` (a Result); on error returns that error from the enclosing function.
#define RC_TRY(expr)                                   \
  do {                                                 \
    if (auto rc_try_result = (expr); !rc_try_result) { \
      return rc_try_result.error();                    \
    }                                                  \
  } while (false)

#define RC_CONCAT_INNER(a, b) a##b
#define RC_CONCAT(a, b) RC_CONCAT_INNER(a, b)
/// `RC_ASSIGN(auto x, f());`: x is the value, or the enclosing function returns the error.
#define RC_ASSIGN(decl, expr) RC_ASSIGN_INNER(RC_CONCAT(rc_result_, __LINE__), decl, expr)
#define RC_ASSIGN_INNER(tmp, decl, expr) \
  auto tmp = (expr);                     \
  if (!tmp) return tmp.error();          \
  decl = std::move(*tmp)
