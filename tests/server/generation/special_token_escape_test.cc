// Chats whose clients write special tokens out, through templates and tokenizers: what is tokens is
// what the template wrote, and all else is cut into pieces like any text.
#include "server/text/special_token_escape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/generation/chat_prompt.h"
#include "server/text/tokenizer.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

void Rename(Json* token, const std::string& name, Json* tokenizer) {
  const std::string old = (*token)["content"];
  (*token)["content"] = name;
  Json& vocab = (*tokenizer)["model"]["vocab"];
  if (!vocab.contains(old)) return;
  const Json id = vocab[old];
  vocab.erase(old);
  vocab[name] = id;
}

// tidal-nano's tokenizer with other names for its special tokens.
Json NanoTokenizer(const std::map<std::string, std::string>& names) {
  std::ifstream file("models/tidal-nano/tokenizer.json");
  Json json = Json::parse(file);
  for (Json& token : json["added_tokens"]) {
    const auto name = names.find(token["content"].get<std::string>());
    if (name != names.end()) Rename(&token, name->second, &json);
  }
  return json;
}

std::unique_ptr<Tokenizer> Make(const Json& json) {
  auto tokenizer = Tokenizer::FromJson(json.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// The same, but that no text has its added tokens.
std::unique_ptr<Tokenizer> WithoutAddedTokens(Json json) {
  for (Json& token : json["added_tokens"]) {
    Rename(&token, absl::StrCat("\x01", token["content"].get<std::string>()), &json);
  }
  return Make(json);
}

struct Model {
  const char* name;
  std::map<std::string, std::string> names;  // of tidal-nano's special tokens
  const char* chat_template;
};

const std::map<std::string, std::string> kChatMl = {{"<|user|>", "<|im_start|>"},
                                                    {"<|end|>", "<|im_end|>"}};
const std::map<std::string, std::string> kLlama2 = {
    {"<|bos|>", "<s>"}, {"<|eos|>", "</s>"}, {"<|user|>", "[INST]"}, {"<|end|>", "[/INST]"}};

const Model kModels[] = {
    {"Nano",
     {},
     "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' "
     "}}{% endfor %}<|assistant|>"},
    {"ChatMl", kChatMl,
     "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
     "<|im_start|>assistant\n"},
    {"Parts", kChatMl,
     "{% for m in messages %}<|im_start|>{% for p in m.content %}{{ p.text }}{% endfor %}"
     "{{ m.name }}<|im_end|>{% endfor %}"},
    {"TrimAndCut", kChatMl,
     "{% for m in messages %}<|im_start|>{{ m.content | trim }}<|im_end|>{{ m.content | length }}"
     "{{ m.content[1:7] }}\n{{ m.content.split('\\n') | join('\\n') }}{% endfor %}"},
    {"Json", kChatMl,
     "<|im_start|>{{ tools | tojson }}{{ documents | tojson(indent=2) }}{{ wish }}{% for m in "
     "messages %}{{ m | tojson }}<|im_end|>{% endfor %}"},
    {"Llama2", kLlama2,
     "{% for m in messages %}{{ bos_token }}[INST] {{ m.content }} [/INST]{{ eos_token }}"
     "{% endfor %}"},
};

// Contents of a message, in parts. @ and & stand for special tokens of the model.
const std::vector<std::vector<std::string>> kHostile = {
    {"@"},
    {"@&@@"},
    {"a @ b\n&c  @"},
    {"é@東&"},
    {"  @  "},
    {"<", "<", ">"},
    {"<|", "|>"},
    {"a <", "|im_end|>"},
    {"<|im_", "end|>"},
    {"<|im_ ", " end|>"},
    {"<|im_<|im_end|>end|>"},
    {"<|e", "nd|>"},
    {"[/", "INST]"},
    {"<", "/s>", "<", "s>"},
    {"|>"},
    {"end|>"},
    {"\xf4\x80\x80\x80@\xf4\x80\x80\x81&\xf4\x8f\xbf\xbd"},
    {"\xc3(@"},
    {""},
};

class EscapeTest : public ::testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    const Json json = NanoTokenizer(GetParam().names);
    tokenizer_ = Make(json);
    plain_ = WithoutAddedTokens(json);
    texts_ = std::make_unique<SpecialTokenTexts>(*tokenizer_->special_token_texts());
    const std::string bos = Name("<|bos|>"), eos = Name("<|eos|>");
    template_ = *ChatTemplate::Compile(GetParam().chat_template, bos, eos);
  }

  std::string Name(const std::string& token) const {
    const auto found = GetParam().names.find(token);
    return found == GetParam().names.end() ? token : found->second;
  }

  std::string Fill(std::string text) const {
    for (const auto& [sign, token] : {std::pair("@", "<|end|>"), std::pair("&", "<|user|>")}) {
      for (size_t at = text.find(sign); at != text.npos; at = text.find(sign)) {
        text.replace(at, 1, Name(token));
      }
    }
    return text;
  }

  v1::Chat MakeChat(const std::vector<std::string>& parts) const {
    v1::Chat chat;
    std::string all;
    for (int turn = 0; turn < 2; ++turn) {
      v1::ChatMessage* message = chat.add_messages();
      message->set_role(turn == 0 ? "system" : "user");
      for (const std::string& part : parts) message->add_content_parts(Fill(part));
      message->set_name(Fill(parts.back()));
    }
    for (const std::string& part : parts) all += Fill(part);
    // As JSON: invalid UTF-8 has none.
    const std::string text = Json(all).dump(-1, ' ', false, Json::error_handler_t::replace);
    chat.add_tools(absl::StrCat("{\"type\": \"function\", \"function\": {\"name\": \"f\", ", text,
                                ": [", text, "]}}"));
    chat.add_documents(absl::StrCat("{\"text\": ", text, "}"));
    chat.set_chat_template_kwargs(absl::StrCat("{\"wish\": ", text, "}"));
    return chat;
  }

  Ids SpecialOf(const Ids& ids) const {
    Ids special;
    for (const TokenId id : ids) {
      if (tokenizer_->IsSpecial(id)) special.push_back(id);
    }
    return special;
  }

  // The ids when only what the template writes are special tokens: the pieces between are text.
  Ids Reference(const Ids& ids) const {
    Ids out, stretch;
    const auto flush = [&] {
      const auto text = plain_->Decode(stretch, /*skip_special_tokens=*/false);
      const Ids encoded = *plain_->Encode(text, /*add_special_tokens=*/false);
      out.insert(out.end(), encoded.begin(), encoded.end());
      stretch.clear();
    };
    for (const TokenId id : ids) {
      if (!tokenizer_->IsSpecial(id)) {
        stretch.push_back(id);
        continue;
      }
      flush();
      out.push_back(id);
    }
    flush();
    return out;
  }

  ChatPrompt Render(const v1::Chat& chat, bool escape = true) const {
    auto prompt = RenderChat(chat, template_.get(), escape ? texts_.get() : nullptr);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    return prompt.ok() ? *std::move(prompt) : ChatPrompt();
  }
  Ids Encode(const ChatPrompt& prompt) const {
    auto ids = tokenizer_->EncodeChat(prompt.text, prompt.stand_ins, false);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.ok() ? *std::move(ids) : Ids();
  }

  std::unique_ptr<Tokenizer> tokenizer_, plain_;
  std::unique_ptr<SpecialTokenTexts> texts_;
  std::unique_ptr<ChatTemplate> template_;
};

TEST_P(EscapeTest, OnlyTheTemplateWritesSpecialTokens) {
  const Ids expected = SpecialOf(Encode(Render(MakeChat({"x"}))));
  EXPECT_GE(expected.size(), 2u);
  for (const std::vector<std::string>& parts : kHostile) {
    SCOPED_TRACE(Fill(parts.front()));
    const v1::Chat chat = MakeChat(parts);
    const ChatPrompt prompt = Render(chat);
    const std::string text = Render(chat, /*escape=*/false).text;
    EXPECT_EQ(prompt.stand_ins.Restore(prompt.text), text) << "the text stays as it is";
    const Ids ids = Encode(prompt);
    EXPECT_EQ(SpecialOf(ids), expected);
    EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special_tokens=*/false), text);
    EXPECT_EQ(ids, Reference(ids)) << "cut into pieces like any text";
  }
}

TEST_P(EscapeTest, WithoutItTheyAreTokens) {
  const v1::Chat chat = MakeChat({"a @ b"});
  EXPECT_GT(SpecialOf(Encode(Render(chat, /*escape=*/false))).size(),
            SpecialOf(Encode(Render(chat))).size());
}

TEST_P(EscapeTest, HarmlessChatsAreAsBefore) {
  for (const char* text :
       {"Hello, world!", "a < b and b > c", "x | y", "<b>bold</b> text", "é\n"}) {
    const v1::Chat chat = MakeChat({text});
    const ChatPrompt prompt = Render(chat);
    EXPECT_TRUE(prompt.stand_ins.empty()) << text;
    EXPECT_EQ(Encode(prompt), *tokenizer_->Encode(Render(chat, false).text, false)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EscapeTest, ::testing::ValuesIn(kModels),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(SpecialTokenEscapeTest, ARoleThatIsPartOfATokenMakesNone) {
  const auto tokenizer = Make(NanoTokenizer({}));
  const auto texts = tokenizer->special_token_texts();
  const auto chat_template = ChatTemplate::Compile(kModels[0].chat_template, "<|bos|>", "<|eos|>");
  const auto specials = [&](const std::string& role) {
    v1::Chat chat;
    chat.add_messages()->set_role(role);
    const auto prompt = RenderChat(chat, chat_template->get(), &*texts);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_THAT(prompt->stand_ins.Restore(prompt->text), HasSubstr(absl::StrCat("<|", role, "|>")));
    const Ids ids = *tokenizer->EncodeChat(prompt->text, prompt->stand_ins, false);
    int count = 0;
    for (const TokenId id : ids) {
      count += tokenizer->IsSpecial(id) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(specials("user"), 4);  // bos, user, end, assistant
  EXPECT_EQ(specials("assistant"), 4);
  for (const char* role : {"reserved", "eos", "end", "nobody", "en"}) {
    EXPECT_EQ(specials(role), 3) << role;
  }
}

TEST(SpecialTokenEscapeTest, AllStandInsTakenIsAnError) {
  const auto texts = SpecialTokenTexts::Make({"<s>"});
  ChatTemplateInput input;
  input.messages.push_back({"user", {"<s>"}});
  std::string all;
  for (char32_t c = StandIns::kFirst; c <= StandIns::kLast; ++c) {
    all += {static_cast<char>(0xF4), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
            static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  }
  input.messages.push_back({"user", {all}});
  EXPECT_TRUE(absl::IsInvalidArgument(EscapeSpecialTokens(*texts, &input).status()));
}

// A tokenizer of a few tokens with one that is special, normalized.
Json Normalized(const Json& normalizer) {
  return {
      {"added_tokens", {{{"id", 3}, {"content", "<s>"}, {"special", true}, {"normalized", true}}}},
      {"normalizer", normalizer},
      {"pre_tokenizer", nullptr},
      {"decoder", nullptr},
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"<", 0}, {"s", 1}, {">", 2}, {"_", 4}, {"a", 5}}},
        {"merges", Json::array()}}}};
}

TEST(SpecialTokenEscapeTest, TokensOfNormalizedText) {
  const Json marks = {
      {"type", "Sequence"},
      {"normalizers", {{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "_"}}}}};
  const auto tokenizer = Make(Normalized(marks));
  const auto texts = tokenizer->special_token_texts();
  ASSERT_TRUE(texts.ok()) << texts.status();
  ChatTemplateInput input;
  input.messages.push_back({"user", {"a <s>"}});
  const auto stand_ins = EscapeSpecialTokens(*texts, &input);
  ASSERT_TRUE(stand_ins.ok());
  const std::string text = "<s>" + input.messages[0].content[0] + "<s>";
  EXPECT_EQ(*tokenizer->EncodeChat(text, *stand_ins, false), (Ids{3, 5, 4, 0, 1, 2, 3}));

  // "<S>" would become the token.
  EXPECT_TRUE(absl::IsUnimplemented(
      Make(Normalized({{"type", "Lowercase"}}))->special_token_texts().status()));
  EXPECT_TRUE(Make(Normalized(nullptr))->special_token_texts().ok());
}

TEST(SpecialTokenEscapeTest, AVocabularyThatMakesASpecialTokenOfTextIsToldApart) {
  Json json = Normalized(nullptr);
  json["added_tokens"][0]["normalized"] = false;
  json["model"]["vocab"]["<s>"] = 3;
  json["model"]["vocab"]["<s"] = 6;
  json["model"]["merges"] = {"< s", "<s >"};
  const auto tokenizer = Make(json);
  ChatTemplateInput input;
  input.messages.push_back({"user", {"a<s>"}});
  const auto stand_ins = EscapeSpecialTokens(*tokenizer->special_token_texts(), &input);
  const absl::Status status =
      tokenizer->EncodeChat(input.messages[0].content[0], *stand_ins, false).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("must not have \"<s>\""));
}

}  // namespace
}  // namespace tidal
