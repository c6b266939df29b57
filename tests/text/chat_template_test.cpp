// Templates against transformers (tools/oracle/text/chat_golden.py), and what bad ones get.
#include "mlxcpp/text/chat_template.h"

#include "mlxcpp/base/error.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

#include <thread>

namespace mlxcpp::text {
namespace {

using testing::Json;
using testing::message_of;
using testing::read;

class Template : public ::testing::TestWithParam<const char*> {
 protected:
  std::string name_ = GetParam();
  ChatTemplate template_{read(testing::data("templates/" + name_ + ".jinja"))};
  Json golden_ = testing::read_json("chat/" + name_ + ".json");
};

TEST_P(Template, RendersAsTransformers) {
  const ChatModel model{golden_.at("bos_token"), golden_.at("eos_token"), true};
  for (const Json& c : golden_.at("cases")) {
    const ChatOptions options{
        .tools_json = c.contains("tools") ? c.at("tools").dump() : "",
        .add_generation_prompt = c.value("add_generation_prompt", false),
        .continue_final_message = c.value("continue_final_message", false),
        .extra_json = c.at("extra").dump(),
    };
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto render = [&] { return template_.render(c.at("messages").dump(), options, model); };
    if (c.at("text").is_null()) {
      EXPECT_ANY_THROW(render());
    } else {
      EXPECT_EQ(render(), c.at("text").get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files,
    Template,
    ::testing::Values("chatml", "llama3", "mistral", "qwen3", "gemma", "dialect"),
    [](const auto& file) { return std::string(file.param); });

std::string render(std::string_view source, std::string_view context = "{}") {
  return ChatTemplate(source).render_context(context);
}

TEST(ChatTemplate, ASyntaxErrorNamesItsLine) {
  EXPECT_EQ(message_of<TokenizerError>([] { ChatTemplate("a\n{% if x %}\nb"); }),
            "chat template: unexpected end of input, expected end of block (line 3)");
  EXPECT_EQ(message_of<TokenizerError>([] { ChatTemplate("\n{{ 1 +* }}"); }),
            "chat template: unexpected `*` (line 2)");
  EXPECT_THROW(ChatTemplate("\xff"), TokenizerError);
}

TEST(ChatTemplate, WhatItRaisesIsTheCallersFaultWithItsMessage) {
  EXPECT_EQ(message_of<InputError>([] { render("a\n{{ raise_exception('roles!') }}"); }),
            "chat template: roles! (line 2)");
  const char* in_macro = "{% macro f() %}{{ raise_exception('deep') }}{% endmacro %}{{ f() }}";
  EXPECT_THROW(render(in_macro), InputError);
}

TEST(ChatTemplate, OtherFailuresAreTheTemplates) {
  EXPECT_THROW(render("{{ nothing.at.all }}"), TokenizerError);
  EXPECT_THROW(render("{{ 1 | no_such_filter }}"), TokenizerError);
  EXPECT_THROW(render("{% include 'x' %}"), TokenizerError);
}

TEST(ChatTemplate, TheConversationMustBeAJsonArray) {
  const ChatTemplate t("x");
  for (const char* bad : {"", "{", "{}", "1", "[1,", "\"\xff\""}) {
    EXPECT_THROW(t.render(bad, {}, {}), InputError) << bad;
  }
  EXPECT_THROW(t.render("[]", {.tools_json = "{}"}, {}), InputError);
  EXPECT_THROW(t.render("[]", {.extra_json = "[]"}, {}), InputError);
  EXPECT_THROW(t.render(std::string(100000, '['), {}, {}), InputError);
}

TEST(ChatTemplate, ContinuingAndPromptingExcludeEachOther) {
  const std::string messages = R"([{"role": "assistant", "content": "a"}])";
  EXPECT_THROW(ChatTemplate("x").render(messages, {.continue_final_message = true}, {}),
               InputError);
}

TEST(ChatTemplate, ExtraKeysOverrideAllOthers) {
  const ChatTemplate t("{{ bos_token }}{{ add_generation_prompt }}{{ enable_thinking }}{{ x }}");
  const ChatModel model{"<s>", "", true};
  EXPECT_EQ(t.render("[]", {}, model), "<s>TrueTrue");
  const ChatOptions options{.extra_json = R"({"bos_token": "B", "enable_thinking": 0, "x": 1})"};
  EXPECT_EQ(t.render("[]", options, model), "BTrue01");
}

TEST(ChatTemplate, TheClockIsTheLocalTime) {
  const std::time_t before = std::time(nullptr);
  const std::string year = render("{{ strftime_now('%Y') }}");
  char expected[8];
  std::strftime(expected, sizeof expected, "%Y", std::localtime(&before));
  EXPECT_EQ(year, expected);
  EXPECT_EQ(render("{{ strftime_now('') }}|{{ strftime_now('a') }}"), "|a");
  EXPECT_THROW(render("{{ strftime_now('%A' * 1000) }}"), TokenizerError);
}

/// Expected: jinja2 3.1.6 as transformers sets it up.
TEST(ChatTemplate, OperatorsAndFiltersGiveWhatPythonGives) {
  EXPECT_EQ(
      render("{{ '<'|safe + '&\"' }}{{ '&' + '<'|safe }}|{{ '<' + '&' }}|{{ '<'|safe ~ '&' }}|"
             "{{ ('<'|safe + '>'|safe) + \"'\" }}|{{ '<'|e }}"),
      "<&amp;&#34;&amp;<|<&|<&|<>&#39;|&lt;");
  EXPECT_EQ(render("{{ 'a\n\nb\n' | indent }}|{{ 'a\n\nb' | indent(2, true, true) }}|"
                   "{{ 'a\nb' | indent(width='>>') }}|{{ '\na' | indent(first=true) }}"),
            "a\n\n    b\n|  a\n  \n  b|a\n>>b|    \n    a");
  EXPECT_EQ(render("{% set x = 1e20 %}{{ [1, 'a'] ~ true ~ none ~ x }}|{{ [1] + [2] }}{{ [1] * 2 }}"
                   "{{ [1,2,3][1:] }}{{ (1,2)[::-1] }}|{{ 'abc'[::-1] }}|{{ [3,1]|reverse|list }}"),
            "[1, 'a']TrueNone1e+20|[1, 2][1, 1][2, 3](2, 1)|cba|[1, 3]");
  EXPECT_EQ(render("{{ [1,2][5:] }}{{ {'a': [1]}.items()|list }}|{{ {'k': 'v'} | string | upper }}|"
                   "{{ [1.5, 'x'] | join('-') }}"),
            "[][('a', [1])]|{'K': 'V'}|1.5-x");
}

/// Expected: jinja2 3.1.6.  Our guards stand between the instructions of each of these.
TEST(ChatTemplate, LoopsMacrosAndOperatorsGoOnAsTheyDid) {
  const char* context =
      R"({"t": [{"n": 1, "c": [{"n": 5, "c": []}, {"n": 6, "c": [{"n": 7}]}]}, {"n": 2}]})";
  const std::pair<const char*, const char*> cases[] = {
      {"{% for x in t recursive %}{{ x.n }}{% if x.c %}[{{ loop(x.c) }}]{% endif %}{% if not "
       "loop.last %},{% endif %}{% endfor %}",
       "1[5,6[7]],2"},
      {"{% for x in [1,1,2,2] %}{{ loop.changed(x) }}{% endfor %}|{% for x in [1,2,3,4] %}{% if x "
       "== 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% else %}e{% "
       "endfor %}",
       "TrueFalseTrueFalse|13"},
      {"{% macro f(a, b=2) %}{{ a ~ b }}{{ caller() if caller else '' }}{% endmacro %}{{ f(1) }}{{ "
       "f(1, b='x') }}{% call f(3) %}in{% endcall %}{% set k = 'z' %}{{ {k: 1, 'y': [k]} }}",
       "121x32in{'z': 1, 'y': ['z']}"},
      {"{{ 1 < 2 < 3 }}{{ 'a' in 'abc' }}{{ 2 not in [1,2] }}{{ t[0]['n'] }}{{ (t|length) * 2 + 1 "
       "}}{{ [1,2][-1] }}{{ ('x' if t else 'y') == 'x' }}{{ ('y' if not t else 'x') != 'x' }}",
       "TrueTrueFalse152TrueFalse"},
      {"{% set ns = namespace(a=1, l=[]) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% set "
       "ns.l = ns.l + [i] %}{% endfor %}{{ ns.a }}{{ ns.l }}{% set x %}b{{ ns.a }}{% endset %}{{ x "
       "}}{% filter upper %}abc{% endfilter %}",
       "4[0, 1, 2]b4ABC"},
      {"{% block b %}{% for m in t if m.n > 1 %}{{ m.n }}{% endfor %}{% endblock %}{{ "
       "t|map(attribute='n')|join('-') }}{{ t|selectattr('n','equalto',2)|list|length }}{{ "
       "t|sort(attribute='n', reverse=true)|map(attribute='n')|list }}",
       "21-21[2, 1]"},
      {"{{ t|groupby('n')|length }}{{ 'a,b'.split(',')[1] }}{{ {'b':1,'a':2}|dictsort }}{{ "
       "[3,1,3]|unique|list }}{{ '%s-%d'|format('a', 3) }}{{ [1,2,3]|sum }}{{ 'x'|default('y') "
       "}}{{ u|default('y') }}{{ [1,2]|last }}{{ [[1,2],[3]]|map('length')|list }}",
       "2b[('a', 2), ('b', 1)][3, 1]a-36xy2[2, 1]"},
      {"{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{{ loop.index }}{% endfor %}{{ "
       "t[1:]|length }}{{ t[::-1][0].n }}{{ 'abc'[1:] }}{{ [1,2,3,4]|batch(2)|list }}{{ 7 // 2 "
       "}}{{ 2 ** 3 }}{{ -7 % 3 }}",
       "a11b2212bc[[1, 2], [3, 4]]382"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(render(source, context), expected);
}

/// Templates that would take hours or gigabytes.
class HostileTemplate : public ::testing::TestWithParam<const char*> {};

TEST_P(HostileTemplate, EndsInAnErrorSoon) {
  const std::string nested =
      "{% for a in range(10000) %}{% for b in range(10000) %}"
      "{% for c in range(10000) %}x{% endfor %}{% endfor %}{% endfor %}";
  const std::string source = GetParam() == std::string("nested loops") ? nested : GetParam();
  EXPECT_THROW(render(source), TokenizerError);
}

INSTANTIATE_TEST_SUITE_P(
    Sources,
    HostileTemplate,
    ::testing::Values(
        "nested loops",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}"
        "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}"
        "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}"
        "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}"
        "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | string }}",
        "{% set ns = namespace(s={}) %}{% for i in range(60) %}"
        "{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s }}",
        "{{ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000) }}",
        "{{ 'x' * 100000000000 }}",
        "{{ [1] * 100000000000 }}",
        "{{ 'a' | indent(100000000000) }}",
        "{{ 'a'.replace('a', 'aaaaaaaaaa' * 1000000) | replace('a', 'aaaaaaaaaa' * 1000000) }}",
        "{{ [[1]] | tojson(indent=100000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'x'.center(100000000000) }}",
        "{{ range(1000000000) | list }}",
        "{{ (range(10000) | list) * 10000 | sum }}"));

/// What walks through a value whose parts are shared: small in memory, endless on a walk.
class SharedParts : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedParts, CostWhatAWalkThroughThemCosts) {
  const std::string doubled =
      "{% set ns = namespace(s=['a'], t=['a'], m={}) %}{% for i in range(60) %}"
      "{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}"
      "{% set ns.m = {'a': ns.m, 'b': ns.m} %}{% endfor %}";
  EXPECT_EQ(render(doubled + "x"), "x");
  EXPECT_EQ(message_of<TokenizerError>([&] { render(doubled + "\n" + GetParam()); }),
            "chat template: the template does too much work (line 2)");
}

INSTANTIATE_TEST_SUITE_P(
    Uses,
    SharedParts,
    ::testing::Values("{{ ns.s }}",
                      "{{ ns.m }}",
                      "{{ ns }}",
                      "{{ ns.s ~ '' }}",
                      "{{ '' ~ ns.s }}",
                      "{{ ns.s == ns.t }}",
                      "{{ (ns.t if ns.t else 'x') == ns.s }}",
                      "{{ ns.s != ns.t }}",
                      "{{ ns.s < ns.t }}",
                      "{{ 1 < 2 < ns.s <= ns.t }}",
                      "{{ ns.s in [ns.t] }}",
                      "{{ ns.s in 'abc' }}",
                      "{{ ns.s not in ns.t }}",
                      "{{ ns.s is eq(ns.t) }}",
                      "{{ ns.s is in([ns.t]) }}",
                      "{{ [ns.s, ns.t] | sort }}",
                      "{{ [ns.s, ns.t] | unique }}",
                      "{{ [ns.s, ns.t] | max }}",
                      "{{ [{'k': ns.s}, {'k': ns.t}] | groupby('k') }}",
                      "{{ ns.m | dictsort(by='value') }}",
                      "{{ ns.s | lower }}",
                      "{{ ns.s | trim }}",
                      "{{ ns.s | join }}",
                      "{{ ns.s | tojson }}",
                      "{{ ns.s | string }}",
                      "{{ ns.s | indent }}",
                      "{{ ns.s | escape }}",
                      "{{ ns.s | replace('a', 'b') }}",
                      "{{ 'a' | replace('a', ns.s) }}",
                      "{{ [ns.s] | map('upper') | list }}",
                      "{{ [ns.s] | select('eq', ns.t) | list }}",
                      "{{ '%s' | format(ns.s) }}",
                      "{{ '{}'.format(ns.s) }}",
                      "{{ ','.join(ns.s) }}",
                      "{{ ns.s.count(ns.t) }}",
                      "{{ raise_exception(ns.s) }}",
                      "{% for x in [ns.s, ns.t] %}{{ loop.changed(x) }}{% endfor %}",
                      "{% for x in [ns.s, ns.t] %}{{ loop.changed(1, x) }}{% endfor %}"));

TEST(ChatTemplate, ListsThatDoubleRunOutOfWork) {
  for (const char* step : {"ns.s + ns.s",
                           "ns.s * 2",
                           "(ns.s | list) + ns.s",
                           "(ns.s + ns.s)[::-1]",
                           "ns.s | chain(ns.s)",
                           "ns.s | reverse | chain(ns.s) | list"}) {
    const std::string source =
        std::string("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}") +
        "{% set ns.s = " + step + " %}{% endfor %}{{ ns.s | length }}";
    EXPECT_THROW(render(source), TokenizerError) << step;
  }
}

TEST(ChatTemplate, EmptyListsAndViewsDoNotPileUp) {
  for (const char* step : {"ns.s + ns.s",
                           "ns.s * 1000000",
                           "ns.s[:]",
                           "ns.s[::-1]",
                           "ns.s | reverse",
                           "ns.s | map('list')"}) {
    const std::string source =
        std::string("{% set ns = namespace(s=[]) %}{% for i in range(20000) %}{% set ns.s = ") +
        step + " %}{% endfor %}{% for x in ns.s %}{% endfor %}{{ ns.s == [1] }}";
    EXPECT_EQ(render(source), "False") << step;
  }
}

TEST(ChatTemplate, KeysMustBePlain) {
  EXPECT_EQ(message_of<TokenizerError>([] { render("{{ {[1]: 2} }}"); }),
            "chat template: unhashable type: sequence (line 1)");
  EXPECT_THROW(render("{% set k = [1] %}{{ {}[k] }}"), TokenizerError);
  EXPECT_EQ(render("{% set k = 'a' %}{{ {k: 1, 2: 'b'} }}{{ {k: 3}[k] }}"), "{'a': 1, 2: 'b'}3");
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

TEST(ChatTemplate, ANamespaceInItselfIsGivenFree) {
  const ChatTemplate t(
      "{% set ns = namespace(text='x' * 8000000) %}{% set ns.self = [ns] %}{{ ns.text | length }}");
  EXPECT_EQ(t.render_context("{}"), "8000000");
  const std::size_t before = resident_bytes();
  for (int i = 0; i < 100; ++i) t.render_context("{}");
  EXPECT_LT(resident_bytes(), before + 500'000'000) << "100 rings of 8 MB; sanitizers keep some";
  EXPECT_THROW(render("{% set a = namespace() %}{% set a.a = a %}{{ a == namespace(a=a) }}"),
               TokenizerError);
}

TEST(ChatTemplate, ValuesNestedWithoutEndDoNotOverflowTheStack) {
  // A large conversation pays for much work.
  const Json context = {{"pad", std::string(1'000'000, 'x')}};
  std::string wrap = "{% set ns = namespace(s=[1]) %}{% for i in range(1800) %}{% set x = ns.s %}";
  for (int i = 0; i < 100; ++i) wrap += "{% set x = [x] %}";
  wrap += "{% set ns.s = x %}{% endfor %}";
  EXPECT_EQ(render(wrap + "x", context.dump()), "x");
  for (const char* use : {"",
                          "{{ ns.s }}",
                          "{{ ns.s | tojson }}",
                          "{{ ns.s | string }}",
                          "{{ ns.s ~ '' }}",
                          "{{ [ns.s] == [[ns.s]] }}",
                          "{{ [ns.s, [ns.s]] | sort }}",
                          "{{ ns.s | lower }}",
                          "{{ {ns.s: 1} }}",
                          "{{ [ns.s] | join }}",
                          "{{ '%s' | format(ns.s) }}",
                          "{{ ns.s | pprint }}",
                          "{{ debug() }}"}) {
    try {
      render(wrap + use, context.dump());
    } catch (const TokenizerError&) {
      // An error is as good as a short form of the value.
    }
  }
  for (const char* level : {"[x]",
                            "(x,)",
                            "{'a': x}",
                            "x | batch(1) | list",
                            "namespace(a=x)",
                            "dict(a=x)",
                            "[x] | zip([1]) | list"}) {
    const std::string deeper =
        std::string("{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}") +
        "{% set x = ns.s %}{% set x = " + level + " %}{% set x = " + level +
        " %}{% set x = " + level + " %}{% set ns.s = x %}{% endfor %}";
    EXPECT_THROW(render(deeper, context.dump()), TokenizerError) << level;
  }
}

TEST(ChatTemplate, ExpressionsNestedWithoutEndDoNotOverflowTheStack) {
  for (const std::string part : {"-",
                                 "not ",
                                 "(",
                                 "[",
                                 "{1:",
                                 "a.",
                                 "a[0]|",
                                 "a~",
                                 "a if a else ",
                                 "a(",
                                 "a is ",
                                 "a in ",
                                 "a|f|",
                                 "a*-",
                                 "{% if a %}",
                                 "{% for a in b %}",
                                 "{% elif a %}",
                                 "{% macro a() %}",
                                 "{#",
                                 "}}{{"}) {
    std::string source = "{{ a ";
    while (source.size() + part.size() < (256 << 10)) source += part;
    try {
      ChatTemplate{source}.render_context("{}");
    } catch (const Error&) {
    }
  }
  EXPECT_EQ(message_of<TokenizerError>([] { ChatTemplate(std::string((256 << 10) + 1, ' ')); }),
            "chat template: the template has 262145 bytes; expected at most 262144");
}

TEST(ChatTemplate, ALongConversationIsWithinTheBounds) {
  Json messages = Json::array();
  for (int i = 0; i < 2000; ++i) {
    messages.push_back(
        {{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(1000, 'x')}});
  }
  const ChatTemplate t(read(testing::data("templates/qwen3.jinja")));
  EXPECT_GT(t.render(messages.dump(), {}, {}).size(), 2000u * 1000u);
}

TEST(ChatTemplate, CanBeUsedFromSeveralThreadsAtOnce) {
  const ChatTemplate t(read(testing::data("templates/chatml.jinja")));
  const std::string messages = R"([{"role": "user", "content": "Hi"}])";
  const std::string expected = t.render(messages, {}, {});
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 100; ++n) wrong[i] += t.render(messages, {}, {}) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace mlxcpp::text
