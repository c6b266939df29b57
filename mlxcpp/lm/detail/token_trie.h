// A tree of token sequences with a value at the end of each: edges hold runs of tokens, so that a
// sequence costs what it does not share with others.
#pragma once

#include "mlxcpp/text/vocab.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

template <class Value>
class TokenTrie {
 public:
  using Ids = std::span<const text::TokenId>;

  /// What is known along a sequence.
  struct Walk {
    std::size_t common = 0;  // tokens that some sequence begins with, too
    std::vector<std::pair<std::size_t, Value*>> prefixes;  // by length, the whole one included
    std::vector<Value*> beyond;  // of sequences that begin with the common tokens and go on
  };
  Walk walk(Ids ids) {
    Walk found;
    Node* node = &root_;
    while (true) {
      if (node->value) found.prefixes.emplace_back(found.common, &*node->value);
      auto rest = ids.subspan(found.common);
      auto next = rest.empty() ? node->next.end() : node->next.find(rest[0]);
      if (next == node->next.end()) break;
      std::size_t n = shared(next->second->edge, rest);
      found.common += n;
      if (n < next->second->edge.size()) {
        collect(*next->second, found.beyond);
        return found;
      }
      node = next->second.get();
    }
    for (auto& [token, child] : node->next) collect(*child, found.beyond);
    return found;
  }

  Value* find(Ids ids) {
    Node* node = node_of(ids);
    return node && node->value ? &*node->value : nullptr;
  }

  /// In place of what was there.
  Value& put(Ids ids, Value value) {
    Node* node = &root_;
    while (!ids.empty()) {
      auto next = node->next.find(ids[0]);
      if (next == node->next.end()) {
        auto leaf = std::make_unique<Node>(Node{{ids.begin(), ids.end()}, {}, {}});
        next = node->next.emplace(ids[0], std::move(leaf)).first;
      }
      std::size_t n = shared(next->second->edge, ids);
      if (n < next->second->edge.size()) split(next->second, n);
      node = next->second.get();
      ids = ids.subspan(n);
    }
    node->value.emplace(std::move(value));
    return *node->value;
  }

  void erase(Ids ids) {
    std::vector<std::unique_ptr<Node>*> path;  // slots from the root to the node
    Node* node = &root_;
    while (!ids.empty()) {
      auto next = node->next.find(ids[0]);
      if (next == node->next.end()) return;
      std::size_t n = next->second->edge.size();
      if (shared(next->second->edge, ids) < n) return;
      path.push_back(&next->second);
      node = next->second.get();
      ids = ids.subspan(n);
    }
    node->value.reset();
    if (path.empty()) return;
    if (node->next.empty()) {
      path.pop_back();
      Node* parent = path.empty() ? &root_ : path.back()->get();
      text::TokenId first = node->edge[0];
      parent->next.erase(first);
    }
    if (!path.empty()) join(*path.back());
  }
  bool empty() const { return !root_.value && root_.next.empty(); }

 private:
  struct Node {
    std::vector<text::TokenId> edge;  // from the parent to here; empty at the root only
    std::map<text::TokenId, std::unique_ptr<Node>> next;
    std::optional<Value> value;
  };

  static std::size_t shared(Ids a, Ids b) {
    return std::size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  }

  static void collect(Node& node, std::vector<Value*>& to) {
    std::vector<Node*> open = {&node};  // not recursive: sequences may be prefixes in a long row
    while (!open.empty()) {
      Node* at = open.back();
      open.pop_back();
      if (at->value) to.push_back(&*at->value);
      for (auto& [token, child] : at->next) open.push_back(child.get());
    }
  }

  Node* node_of(Ids ids) {
    Node* node = &root_;
    while (!ids.empty()) {
      auto next = node->next.find(ids[0]);
      if (next == node->next.end()) return nullptr;
      std::size_t n = next->second->edge.size();
      if (shared(next->second->edge, ids) < n) return nullptr;
      node = next->second.get();
      ids = ids.subspan(n);
    }
    return node;
  }

  /// A node after the first n tokens of the edge to `slot`.
  static void split(std::unique_ptr<Node>& slot, std::size_t n) {
    auto& edge = slot->edge;
    auto upper = std::make_unique<Node>(Node{{edge.begin(), edge.begin() + long(n)}, {}, {}});
    edge.erase(edge.begin(), edge.begin() + long(n));
    text::TokenId first = edge[0];
    upper->next.emplace(first, std::move(slot));
    slot = std::move(upper);
  }

  /// Joins a node that holds nothing and leads to one other with that one.
  static void join(std::unique_ptr<Node>& slot) {
    if (slot->value || slot->next.size() != 1) return;
    auto below = std::move(slot->next.begin()->second);
    below->edge.insert(below->edge.begin(), slot->edge.begin(), slot->edge.end());
    slot = std::move(below);
  }

  Node root_;
};

}  // namespace mlxcpp::lm
